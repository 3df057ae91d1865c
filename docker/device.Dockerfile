# A board as edgefreeze meets it over SSH: sshd, Python 3, an unprivileged user, and nothing more.
#
# `docker/lab up` builds it, for x86-64 and for the emulated Raspberry Pi alike, and puts the host key
# and the authorised key into /etc/edgefreeze-lab, without which sshd does not start. By hand:
#   docker build -f docker/device.Dockerfile [--platform linux/arm64] docker/
ARG BASE=debian:bookworm-slim
FROM ${BASE}

ARG PACKAGES="openssh-server python3"
# A base that docker/lab put together brings them along; its build needs no network.
RUN dpkg --status ${PACKAGES} >/dev/null 2>&1 \
    || { apt-get update \
         && apt-get install --yes --no-install-recommends ${PACKAGES} \
         && rm -rf /var/lib/apt/lists/*; }

# "*" is a password that matches nothing, but, unlike "!", no locked account, which sshd would refuse.
RUN useradd --uid 1000 --create-home --shell /bin/bash --password '*' pi \
    && rm -f /etc/ssh/ssh_host_* \
    && mkdir -p /run/sshd /etc/edgefreeze-lab

COPY sshd_config /etc/ssh/sshd_config
# All connections come from the bridge's one address: a test of a wrong key must not lock out the next test.
RUN if sshd -G 2>/dev/null | grep -qi '^persourcepenalties'; then \
      echo 'PerSourcePenalties no' >> /etc/ssh/sshd_config; fi

EXPOSE 22
CMD ["/usr/sbin/sshd", "-D", "-e"]
