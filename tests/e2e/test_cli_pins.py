"""What sealmq knows of key spaces outlives its runs: an older epoch, another issuer and plain text are refused by the next one, too."""
import hashlib
import shutil

import pytest

from lib.pki import CLIENT_AUTH

pytestmark = pytest.mark.sealmqd_only("key spaces are ours")
STORES = (0,)
BROKER_OPTIONS = {"topic_admin": "boss"}


@pytest.fixture(scope="session")
def people(pki):
    return {cn: pki.authority.issue(f"pins-{cn}", cn, kind="rsa2048", eku=(CLIENT_AUTH,)) for cn in ("boss", "ann")}


@pytest.fixture
def cli(broker, people, sealmq):
    return lambda cn, **environ: sealmq(broker, people[cn], **environ)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "sealmq" / "pins"


def test_a_broker_with_an_older_store_is_refused(start_broker, people, sealmq, tmp_path):
    """The key was turned; then somebody puts the store of before back. Whoever has seen the new epoch does not go back to the old one."""
    broker = start_broker({**BROKER_OPTIONS, "store": "lmdb", "store_dir": "store", "store_max_size": "64M"})
    boss, ann = (sealmq(broker, people[cn]) for cn in ("boss", "ann"))
    boss.run("topic", "create", "plant", "--member", "ann")
    ann.pub("-t", "plant/x", "-m", "epoch 1", "--sealed")
    broker.stop()
    shutil.copytree(broker.dir / "store", tmp_path / "backup")
    broker.start()
    boss.run("topic", "rotate", "plant")
    ann.pub("-t", "plant/x", "-m", "epoch 2", "--sealed")
    assert "epoch 2" in ann.run("key", "pins").stdout
    broker.stop()
    shutil.copytree(tmp_path / "backup", broker.dir / "store", dirs_exist_ok=True)
    broker.start()
    for command in (["pub", "-t", "plant/x", "-m", "x"], ["key", "open", "$KEYS/plant"]):
        assert "refused: the epoch has gone down" in ann.run(*command, "-W", 10, status=None).stderr
    assert "not published" in ann.pub("-t", "plant/x", "-m", "x", status=3).stderr
    sub = ann.start("sub", "-d", "-t", "plant/x", "-W", 10)
    sub.wait(lambda: any("refused: the epoch has gone down" in x for x in sub.err))
    ann.run("key", "forget", "plant")  # only its user may decide so
    ann.pub("-t", "plant/x", "-m", "x", "--sealed")


def test_a_space_made_anew_has_to_be_forgotten_first(cli, name):
    boss, ann = cli("boss"), cli("ann")
    boss.run("topic", "create", name, "--member", "ann")
    boss.run("topic", "rotate", name)
    ann.pub("-t", name, "-m", "x", "--sealed")
    boss.run("topic", "delete", name)
    why = ann.pub("-t", name, "-m", "x", status=1).stderr  # not even in plain text
    assert "not published: it was sealed" in why and "sealmq key forget" in why
    assert "it was sealed for this client" in ann.run("sub", "-t", name, "-W", 10, status=1).stderr
    boss.run("topic", "create", name, "--member", "ann")
    assert "the epoch has gone down" in ann.pub("-t", name, "-m", "x", status=3).stderr
    ann.run("key", "forget", name)
    ann.pub("-t", name, "-m", "x", "--sealed")
    assert "nothing is known of the space 'other'" in ann.run("key", "forget", "other", status=1).stderr


def test_another_issuer_is_refused(cli, name, state, tmp_path):
    """The file says who issues the keys of a space; here it says so of somebody else."""
    boss, ann = cli("boss"), cli("ann")
    boss.run("topic", "create", name, "--member", "ann")
    ann.run("key", "open", f"$KEYS/{name}")
    line = state.read_text(encoding="utf-8").splitlines()[1]
    issuer = line.split('"issuer":"')[1][:64]
    assert f"space '{name}'  mode broker  signatures optional  epoch 1  issuer {issuer}" in ann.run("key", "pins").stdout
    forged = write_pins(tmp_path / "forged", line.replace(issuer, "ab" * 32) + "\n")
    for command in (["pub", "-t", name, "-m", "x"], ["key", "open", f"$KEYS/{name}"]):
        assert "the space is pinned to another issuer" in ann.run(*command, "--state", forged, status=None).stderr


@pytest.mark.parametrize("policy, why", [('"mode":"owner"', "the mode has gone down"), ('"sign":"required"', "the signature policy has gone down")])
def test_what_goes_down_is_refused(cli, name, state, tmp_path, policy, why):
    boss, ann = cli("boss"), cli("ann")
    boss.run("topic", "create", name, "--member", "ann")
    ann.run("key", "open", f"$KEYS/{name}")
    line = state.read_text(encoding="utf-8").splitlines()[1].replace('"mode":"broker"', policy if "mode" in policy else '"mode":"broker"')
    forged = write_pins(tmp_path / "forged", line.replace('"sign":"optional"', policy if "sign" in policy else '"sign":"optional"') + "\n")
    assert why in ann.pub("-t", name, "-m", "x", "--state", forged, status=3).stderr


def write_pins(path, lines):
    digest = hashlib.sha256(lines.encode()).hexdigest()
    path.write_text(f'{{"pins":"sealmq v1","sha256":"{digest}"}}\n{lines}', encoding="utf-8")
    path.chmod(0o600)
    return path


def test_a_damaged_file_stops_everything(cli, name, state):
    boss, ann = cli("boss"), cli("ann")
    boss.run("topic", "create", name, "--member", "ann")
    ann.pub("-t", name, "-m", "x")
    text = state.read_text(encoding="utf-8")
    state.write_text(text.replace('"epoch":1', '"epoch":0'), encoding="utf-8")
    damaged = state.read_bytes()
    for command in (["pub", "-t", name, "-m", "x"], ["sub", "-t", name, "-W", 5], ["key", "pins"], ["key", "forget", name]):
        why = ann.run(*command, status=1).stderr
        assert f"{state}: is damaged" in why and "remove it to trust" in why
    assert state.read_bytes() == damaged
    ann.pub("-t", name, "-m", "x", "--no-state")


def test_where_it_is_kept(cli, name, tmp_path):
    cli("boss").run("topic", "create", name, "--member", "ann")
    ann = cli("ann")
    ann.pub("-t", name, "-m", "x", "--state", tmp_path / "mine")
    assert not (tmp_path / "sealmq" / "pins").exists() and (tmp_path / "mine").stat().st_mode & 0o777 == 0o600
    ann.pub("-t", name, "-m", "x", "--no-state")
    cli("ann", XDG_STATE_HOME="").pub("-t", name, "-m", "x")
    assert (tmp_path / ".local" / "state" / "sealmq" / "pins").exists()
    nowhere = cli("ann", XDG_STATE_HOME="")
    del nowhere.environ["HOME"]
    assert "HOME is not set" in nowhere.pub("-t", name, "-m", "x", status=1).stderr
    assert "/proc/none" in ann.pub("-t", name, "-m", "x", "--state", "/proc/none/pins", status=1).stderr
