import json, pytest
@pytest.mark.tf
def test_show(refusals):
    for k,v in refusals.items(): print(k, json.dumps(v.get("error",v),indent=1)[:1500], v.get("left"))
