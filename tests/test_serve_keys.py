"""Access control: keys, scopes, limits, and isolation between keys."""

from __future__ import annotations

import json
import os
import stat

import pytest
from serving import QUESTION, SAID, events, knowledge, running

from llmkit.errors import ConfigError, DataError
from llmkit.serve.auth.api_keys import KeyStore
from llmkit.serve.auth.middleware import required_scope
from llmkit.serve.errors import HttpError
from llmkit.serve.settings import Settings

pytestmark = pytest.mark.network


def bearer(text):
    return {"Authorization": f"Bearer {text}"}


def ask(served, head, question=QUESTION, model="quote"):
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    return served.http.post("/v1/chat/completions", json=body, headers=head)


def turn(served, head, session, question=QUESTION):
    with served.http.stream("POST", f"/api/sessions/{session}/turns", json={"question": question}, headers=head) as one:
        assert one.status_code == 200, one.read()
        return list(events(one))[-1]


@pytest.fixture
def ring(tmp_path):
    return KeyStore(tmp_path / "serve")


def test_keys_are_stored_as_hashes_and_revoked_at_once(ring, tmp_path):
    key, text = ring.add("reader", ["ask"], labels=["hr"], rate=7)
    assert text not in ring.path.read_text()
    assert text.split("-", 2)[2] not in ring.path.read_text()
    assert stat.S_IMODE(os.stat(ring.path).st_mode) == 0o600
    caller = ring.authenticate(text)
    assert (caller.id, caller.labels, caller.rate) == (key.id, ("hr",), 7)
    assert caller.reader == tuple(sorted(["hr", f"key:{key.id}"]))
    for wrong in ("", "llmkit-", text[:-1], text[:-1] + ("a" if text[-1] != "a" else "b"), f"{text}x", text.upper()):
        assert ring.authenticate(wrong) is None
    assert KeyStore(tmp_path / "serve").revoke("reader") == [key]  # by another process
    assert ring.authenticate(text) is None
    with pytest.raises(DataError, match="unknown key 'raeder'; did you mean 'reader'"):
        ring.revoke("raeder")
    with pytest.raises(DataError, match="unknown scope 'aks'"):
        ring.add("x", ["aks"])
    ring.path.write_text("{")
    with pytest.raises(DataError, match="every key is refused until the file is repaired"):
        ring.authenticate(text)


def test_listening_beyond_loopback_requires_keys():
    with pytest.raises(ValueError, match="requires API keys: without them, anybody who reaches"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", keys=True).known_hosts == {"localhost", "127.0.0.1", "::1"}


def test_the_command_refuses_to_listen_beyond_loopback_without_a_key(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from llmkit.cli.answering.keys import command as keys
    from llmkit.cli.answering.serve import command as serve

    monkeypatch.chdir(tmp_path)
    for options in (["--host", "0.0.0.0"], ["--keys"], ["--host", "0.0.0.0", "--no-keys"]):
        done = CliRunner().invoke(serve, options)
        assert isinstance(done.exception, ConfigError), done.output
    made = CliRunner().invoke(keys, ["add", "me", "--scope", "ask", "--scope", "ingest", "--json"])
    told = json.loads(made.output)
    assert told["scopes"] == ["ask", "ingest"]
    assert KeyStore(tmp_path / ".llmkit" / "serve").authenticate(told["key"]).name == "me"
    listed = CliRunner().invoke(keys, ["list"]).output
    assert "me" in listed
    assert told["key"] not in listed
    again = CliRunner().invoke(keys, ["add", "me"]).output
    assert f"me has an older key, which stays valid; to revoke it: llmkit keys revoke {told['id']}" in again
    assert "revoked: me" in CliRunner().invoke(keys, ["revoke", "me"]).output


ROUTES = [
    ("GET", "/v1/models", "ask"), ("GET", "/v1/models/quote", "ask"), ("POST", "/v1/chat/completions", "ask"),
    ("POST", "/v1/responses", "ask"), ("POST", "/v1/embeddings", "ask"),
    ("POST", "/api/knowledge/files", "ingest"), ("GET", "/api/knowledge/files", "ask"),
    ("DELETE", "/api/knowledge/files", "ingest"), ("POST", "/api/knowledge/forget", "ingest"),
    ("POST", "/api/knowledge/search", "ask"), ("GET", "/api/knowledge/document", "ask"),
    ("GET", "/api/sessions", "ask"), ("GET", "/api/sessions/x", "ask"), ("DELETE", "/api/sessions/x", "ask"),
    ("POST", "/api/sessions/x/turns", "ask"), ("POST", "/api/sessions/x/decisions", "ask"), ("DELETE", "/api/sessions/x/turns/last", "ask"),
    ("GET", "/api/sessions/x/markdown", "ask"), ("GET", "/api/traces/tr-0", "ask"), ("POST", "/api/feedback", "ask"),
    ("GET", "/api/feedback", "ask"), ("GET", "/api/me", "ask"), ("GET", "/metrics", "admin"),
    ("GET", "/healthz", None), ("GET", "/readyz", None), ("GET", "/", None), ("GET", "/page/app.js", None),
]  # fmt: skip


def test_every_route_requires_its_scope(ring, tmp_path):
    knowledge(tmp_path / "kb")
    keys = {scope: ring.add(scope, [scope])[1] for scope in ("ask", "ingest", "admin")}
    with running(tmp_path, keys=True) as served:
        known = {
            (method.upper(), path)
            for path, methods in served.http.get("/openapi.json").json()["paths"].items()
            for method in methods
        }
        for method, pattern in known:  # a route that is added is added to the table above
            path = pattern.replace("/v1/models/{name}", "/v1/models/quote").replace("traces/{name}", "traces/tr-0")
            assert (method, path.replace("{name}", "x")) in {(m, p) for m, p, _ in ROUTES}, (method, pattern)
        for method, path, scope in ROUTES:
            assert required_scope(method, path) == scope, path
            if scope is None:
                assert served.http.request(method, path).status_code == 200
                continue
            for head in ({}, bearer("llmkit-0-0"), {"Authorization": "Basic eDp5"}):
                denied = served.http.request(method, path, headers=head)
                assert (denied.status_code, denied.headers["www-authenticate"]) == (401, "Bearer"), path
                assert (
                    "this request has none"
                    if "Authorization" not in head or head["Authorization"].startswith("Basic")
                    else "unknown or revoked"
                ) in denied.text
            for name, text in keys.items():
                status = served.http.request(method, path, headers=bearer(text)).status_code
                allowed = name in (scope, "admin")
                assert (status != 403) == allowed, (method, path, name, status)
                assert status < 500
        assert required_scope("PATCH", "/v1/models") == required_scope("GET", "/docs") == "admin"


def test_nothing_of_one_key_is_seen_with_another(ring, tmp_path):
    knowledge(tmp_path / "kb")
    (ida, a), (idb, b) = ((key.id, bearer(text)) for key, text in (ring.add(n, ["ask", "ingest"]) for n in "ab"))
    with running(tmp_path, keys=True) as served:
        secret = "The dragon of the key A sleeps in cave 7041."
        for head, text in ((a, secret), (b, "Key B knows of no cave.")):
            assert served.upload("note.txt", text, head).status_code == 202
            served.until(lambda head=head: [f for f in served.files(**head) if f["status"] == "parsed" and f["mine"]])
        question = "Where does the dragon of the key A sleep?"
        kept = turn(served, a, "talk", question)[1]
        assert "cave 7041" in kept["text"]
        served.http.post("/api/feedback", json={"trace": kept["trace"], "rating": "up"}, headers=a)
        (mine,) = [f for f in served.files(**a) if f["mine"]]
        assert mine["documents"] == [f"{ida}/note.txt"]
        document = {"id": mine["documents"][0]}
        assert (
            secret
            in served.http.get("/api/knowledge/document", params=document, headers=a).json()["before"]
            + (served.http.get("/api/knowledge/document", params=document, headers=a).json()["after"])
        )

        def get(path, **params):
            return served.http.get(path, params=params, headers=b)

        gone = [
            get("/api/sessions/talk"), get("/api/sessions/talk/markdown"), get(f"/api/traces/{kept['trace']}"),
            get("/api/knowledge/document", **document),
            get("/api/knowledge/document", **document, version=kept["citations"][0]["version"]),
            served.http.delete("/api/sessions/talk", headers=b),
            served.http.delete("/api/sessions/talk/turns/last", headers=b),
            served.http.delete("/api/knowledge/files", params={"name": mine["name"]}, headers=b),
            served.http.post("/api/knowledge/forget", json={"documents": mine["documents"]}, headers=b),
            served.http.post("/api/feedback", json={"trace": kept["trace"], "rating": "down"}, headers=b),
        ]  # fmt: skip
        assert [reply.status_code for reply in gone] == [404] * len(gone)
        shown = [
            get("/api/sessions").text, get("/api/feedback").text, get("/api/knowledge/files").text,
            ask(served, b, question).text, ask(served, b, question, "find").text, str(turn(served, b, "talk", question)),
            served.http.post("/api/knowledge/search", json={"query": question, "k": 100}, headers=b).text,
            *(reply.text.replace(mine["documents"][0], "") for reply in gone),
        ]  # fmt: skip
        for text in shown:
            assert "cave 7041" not in text
            assert ida not in text
        assert kept["trace"] not in "".join(shown[:7])
        assert "cave 7041" in ask(served, a, question).text  # and it is there still
        third, c = ring.add("c", ["ask", "ingest"])
        c = bearer(c)
        served.upload("guess.txt", question, c)  # does anybody talk of this?
        served.until(lambda: [f for f in served.files(**c) if f["status"] == "parsed" and f["mine"]])
        asked = {"documents": [f"{third.id}/guess.txt"]}
        told = served.http.post("/api/knowledge/forget", json=asked, headers=c).json()
        assert {told[kind] for kind in ("turns", "traces", "ratings")} == {0}
        theirs = served.http.get("/api/sessions/talk", headers=a).json()
        assert len(theirs["turns"]) == 1
        assert idb not in str(theirs)


def test_labels_of_a_key_decide_what_it_reads_and_shares(ring, tmp_path):
    _, hr = ring.add("hr", ["ask", "ingest"], labels=["hr"])
    _, other = ring.add("other", ["ask", "ingest"])
    _, admin = ring.add("boss", ["admin"])
    with running(tmp_path, keys=True) as served:
        assert served.upload("pay.txt", "Pay rises in March.", bearer(hr), access="hr").status_code == 202
        served.until(lambda: [f for f in served.files(**bearer(hr)) if f["status"] == "parsed"])
        assert "March" in ask(served, bearer(hr), "When does pay rise?").text
        assert "March" in ask(served, bearer(admin), "When does pay rise?").text
        assert "March" not in ask(served, bearer(other), "When does pay rise?").text
        refused = served.upload("x.txt", "x", bearer(other), access="hr")
        assert refused.status_code == 403
        assert "its own labels only" in refused.json()["error"]["message"]
        fourth = ring.add("second of hr", ["ask"], labels=["hr"])[1]
        assert "March" in ask(served, bearer(fourth), "When does pay rise?").text
        assert [f["mine"] for f in served.files(**bearer(fourth))] == [False]


def test_the_files_of_a_key_have_a_quota(ring, tmp_path):
    keys = [bearer(ring.add(name, ["ask", "ingest"])[1]) for name in "ab"]
    with running(tmp_path, keys=True, max_stored=2000) as served:
        first = served.upload("a.txt", "word " * 300, keys[0])
        assert first.status_code == 202
        reply = served.upload("b.txt", "word " * 300, keys[0])
        assert reply.status_code == 413
        assert "delete some first" in reply.json()["error"]["message"]
        assert served.upload("b.txt", "word " * 300, keys[1]).status_code == 202
        served.until(lambda: [f for f in served.files(**keys[0]) if f["status"] == "parsed"])
        served.http.delete("/api/knowledge/files", params={"name": first.json()["files"][0]["name"]}, headers=keys[0])
        assert served.upload("b.txt", "word " * 300, keys[0]).status_code == 202


def test_limits_of_a_key(ring, tmp_path):
    knowledge(tmp_path / "kb")
    _, slow = ring.add("slow", ["ask"], rate=3)
    _, small = ring.add("small", ["ingest", "ask"], max_upload=1000)
    with running(tmp_path, keys=True) as served:
        got = [ask(served, bearer(slow)).status_code for _ in range(5)]
        assert got == [200, 200, 200, 429, 429]
        assert 1 <= int(ask(served, bearer(slow)).headers["retry-after"]) <= 20
        reply = served.upload("big.txt", "x" * 5000, bearer(small))
        assert reply.status_code == 413
        tries = [ask(served, bearer(f"llmkit-000000000000-{'x' * 43}")).status_code for _ in range(61)]
        assert tries[0] == 401
        assert tries[-1] == 429  # guessing is slowed down
        ring.revoke("small")
        assert served.http.get("/api/me", headers=bearer(small)).status_code in (401, 429)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "a@localhost", "[::1"]
)
def test_unknown_host_names_are_refused(tmp_path, host):
    with running(tmp_path) as served:
        reply = served.http.get("/healthz", headers={"Host": host})
        assert reply.status_code in (400, 421)
        assert served.http.get("/healthz", headers={"Host": "localhost:1"}).status_code == 200


def test_pages_of_other_sites_are_refused_and_cors_is_off(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        for head in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Origin": f"{served.url}.evil.example"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        ):
            reply = served.upload("x.txt", "poison", head)
            assert reply.status_code == 403, head
            assert "access-control-allow-origin" not in reply.headers
        assert served.http.options("/v1/models", headers={"Origin": "https://evil.example"}).status_code == 403
        same = {"Origin": served.url, "Sec-Fetch-Site": "same-origin"}
        assert served.http.get("/v1/models", headers=same).status_code == 200
        assert served.files()[0]["file"] == "api"


def test_logs_and_metrics_hold_no_words_and_no_keys(ring, tmp_path, caplog):
    knowledge(tmp_path / "kb")
    _, text = ring.add("admin", ["admin"])
    with running(tmp_path, keys=True) as served, caplog.at_level("INFO", "llmkit.serve"):
        ask(served, {**bearer(text), "X-Request-Id": "mine-1"}, "What about the zebra?")
        turn(served, bearer(text), "zebra talk", "And the zebra?")
        served.http.get("/api/sessions/zebra%20talk", headers=bearer(text))
        served.http.get("/api/knowledge/document", params={"id": "zebra"}, headers=bearer(text))
        served.http.get("/zebra", headers=bearer(text))
        told = served.http.get("/metrics", headers=bearer(text)).text
    assert "mine-1" in caplog.text
    for words in ("zebra", text, text.split("-", 2)[2]):
        assert words not in caplog.text
        assert words not in told
    assert 'llmkit_runs_total{end="answered",pipeline="quote"} 2.0' in told
    assert all(json.loads(record.getMessage())["request"] for record in caplog.records if record.name == "llmkit.serve")
    assert SAID not in told


def test_error_messages_for_keys_hide_paths_of_the_server(tmp_path):
    from llmkit.errors import KnowledgeError
    from llmkit.serve.auth.principal import LOCAL_PRINCIPAL, Principal
    from llmkit.serve.errors import error_body, to_http_error

    error = to_http_error(KnowledgeError("/home/me/kb is busy: look at '/home/me/kb/writer.json'"))
    key = Principal("k", "k", frozenset({"ask"}))
    assert error_body(error, "r", key)["error"]["message"] == "(a path) is busy: look at '(a path)'"
    assert "/home/me" in error_body(error, "r", LOCAL_PRINCIPAL)["error"]["message"]
    assert isinstance(error, HttpError)


def test_a_key_may_come_in_the_header_x_api_key(ring, tmp_path):
    _, text = ring.add("ada", ["ask"])
    with running(tmp_path, keys=True) as served:
        assert served.http.get("/api/me", headers={"X-Api-Key": text}).json()["name"] == "ada"
        assert served.http.get("/api/me", headers={"X-Api-Key": text, "Authorization": "Basic eDp5"}).status_code == 200
        refused = served.http.get("/api/me", headers={"X-Api-Key": "llmkit-0-0"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        assert "unknown or revoked" in refused.text
