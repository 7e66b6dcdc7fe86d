"""Secrets go, settings stay."""

from __future__ import annotations

from typing import Any

import pytest

from runstore.redaction.redact import (
    redact_command,
    redact_params,
    redact_source,
    redact_text,
    redact_value,
)
from runstore.redaction.secret_names import Sign, sign_of
from runstore.redaction.secret_shapes import REDACTED
from tests.conftest import WithinCpuS

SECRET = "h7Kq2-secret-value-9xZ"
WORDS = "correcthorsebattery"

# Made here, so that no scanner of this repository takes them for real ones.
SHAPED = {
    "hugging face": "hf_" + "aB3" * 10,
    "github": "ghp_" + "aB3" * 12,
    "github fine-grained": "github_pat_" + "aB3_" * 10,
    "gitlab": "glpat-" + "aB3-" * 6,
    "aws": "AKIA" + "ABCD2345" * 2,
    "google": "AIza" + "aB3_" * 9,
    "openai": "sk-proj-" + "aB3-" * 9,
    "stripe": "sk_live_" + "aB3" * 8,
    "slack": "xoxb-" + "123-" * 5,
    "jwt": ".".join(["eyJ" + "aB3" * 5] * 3),
    "wandb": "wandb_v1_" + "aB3" * 10,
}


@pytest.mark.parametrize(
    "name",
    [
        "--api-key", "WANDB_API_KEY", "HF_TOKEN", "token", "--auth-token", "password", "db.passwd",
        "AWS_SECRET_ACCESS_KEY", "clientSecret", "private_key", "openaiKey", "key", "cookie",
        "Authorization", "githubToken", "PASSWORD2", "accessToken", "PGPASSWORD", "--authtoken",
        "apitoken", "DB_PASS", "pw", "--master-key", "acme_key", "model/db.password", "myapikey",
    ],
)  # fmt: skip
def test_secret_name(name: str) -> None:
    assert sign_of(name) is not Sign.NONE
    assert redact_value(name, SECRET) == REDACTED


@pytest.mark.parametrize(
    "name",
    [
        "--max-tokens", "tokenizer", "--key-dim", "author", "num_keys", "keyboard", "key_padding",
        "pad_token", "--eos-token", "monkey", "secretary", "tokens_per_batch", "lr", "", "--",
        "n_tokens", "sort_key", "primary_key", "tokenizers_parallelism", "authors", "passes",
        "token_type", "--token-pooling", "auth_type", "num_token_types", "forward_pass",
        "password_file", "secret_length", "cache_key", "public_key",
    ],
)  # fmt: skip
def test_setting_is_no_secret(name: str) -> None:
    assert sign_of(name) is Sign.NONE


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--api-key", SECRET],
        ["train.py", f"--api-key={SECRET}"],
        ["train.py", f"api_key={SECRET}"],
        ["train.py", "--token", SECRET, "--lr", "0.1"],
        ["env", f"HF_TOKEN={SECRET}", "python", "train.py"],
        ["train.py", "--data", f"https://me:{SECRET}@example.org/x"],
        ["train.py", "--data", f"https://me:p@{SECRET}@example.org/x"],
        ["train.py", "--config", f'{{"lr": 1, "api_key": "{SECRET}"}}'],
        ["python", "-c", f"login(token='{SECRET}')"],
        ["python", "-c", f"import os; os.environ['WANDB_API_KEY'] = '{SECRET}'"],
        ["train.py", "--header", f"Authorization: Bearer {SECRET}"],
        ["train.py", f"--header=Authorization: Bearer {SECRET}"],
        ["train.py", "--header", f"Cookie: a=b; session={SECRET}"],
        ["train.py", "--dsn", f"host=db user=me password={SECRET}"],
        ["train.py", "--url", f"https://example.org/?lr=1&token={SECRET}"],
        ["train.py", "--pass", SECRET],
        ["train.py", "--token", f"-{SECRET}"],
        ["train.py", "--token", f"--{SECRET}"],
        ["train.py", f"model/db.password={SECRET}"],
        ["train.py", "--credentials", f"me:{SECRET}"],
        ["train.py", "--config", f'{{"password": "correct horse {SECRET}"}}'],
        ["train.py", "--config", f'{{"password": ["a", "{SECRET}"], "lr": NaN}}'],
        ["sh", "-c", f"train --token {SECRET}"],
    ],
    ids=repr,
)
def test_secret_in_a_command_is_taken_out(command: list[str]) -> None:
    cleaned = redact_command(command)
    assert SECRET not in " ".join(cleaned)
    assert REDACTED in " ".join(cleaned)
    assert len(cleaned) == len(command)


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--password", "123456"],
        ["train.py", "--password", WORDS],
        ["env", f"PGPASSWORD={WORDS}"],
        ["train.py", f"--apitoken={WORDS}"],
        ["train.py", "--url", f"https://example.org/?token={WORDS}"],
        ["train.py", "--dsn", f"host=db password={WORDS}"],
    ],
    ids=repr,
)
def test_value_of_a_telling_name_goes_whatever_it_looks_like(command: list[str]) -> None:
    cleaned = " ".join(redact_command(command))
    assert REDACTED in cleaned
    assert WORDS not in cleaned and "123456" not in cleaned


@pytest.mark.parametrize(
    "command",
    [
        ["train.py", "--max-tokens", "512", "--tokenizer", "bert", "--key-dim", "64"],
        ["train.py", "tokenizer=bert", "author=x", "model.key_dim=64", "--pad-token", "<pad>"],
        ["train.py", "--pad-token", "0", "auth_retries=3", "--lr=0.1", "data=/mnt/a@b/c"],
        ["python", "-m", "torch.distributed.run", "--nproc-per-node=8", "train.py"],
        ["train.py", "user@example.org", "a=b=c", "--", "-x"],
        ["train.py", "--token-pooling", "mean", "--token-embedding=rope", "--key", "label"],
        ["train.py", "--auth-type", "basic", "--num-token-types", "two", "--sort-key", "name"],
        ["pip", "install", "git+ssh://git@github.com/a/b"],
        ["train.py", '{"lr":1,  "key": "epoch"}', "image_key=img", "--monitor-key", "val/top1"],
    ],
    ids=repr,
)
def test_settings_in_a_command_stay(command: list[str]) -> None:
    assert redact_command(command) == command


@pytest.mark.parametrize("secret", SHAPED.values(), ids=SHAPED.keys())
def test_value_with_the_shape_of_a_secret_is_taken_out_by_any_name(secret: str) -> None:
    assert redact_text(f"x {secret}, y") == f"x {REDACTED}, y"
    assert redact_params({"note": secret}) == {"note": REDACTED}
    assert secret not in redact_source(f"+    foo('{secret}')")


@pytest.mark.parametrize(
    ("params", "cleaned"),
    [
        ({"api_key": SECRET}, {"api_key": REDACTED}),
        ({"wandb": {"key": SECRET, "n": 1}}, {"wandb": {"key": REDACTED, "n": 1}}),
        ({"tokens": [1, 2]}, {"tokens": [1, 2]}),
        (
            {"passwords": ["a1"], "password": ["a1b2"]},
            {"passwords": REDACTED, "password": REDACTED},
        ),
        ({"dsn": f"host=db password={WORDS}"}, {"dsn": f"host=db password={REDACTED}"}),
        ({"url": f"https://x/?token={WORDS}"}, {"url": f"https://x/?token={REDACTED}"}),
        ({"credentials": {"user": "a", "x": WORDS}}, {"credentials": REDACTED}),
        ({"headers": {"X": f"Bearer {SECRET}"}}, {"headers": {"X": f"Bearer {REDACTED}"}}),
        ({"password": 12345678, "auth": {}}, {"password": REDACTED, "auth": {}}),
        ({"db": {"pass": WORDS}}, {"db": {"pass": REDACTED}}),
        ({"key": "epoch", "image_key": "img"}, {"key": "epoch", "image_key": "img"}),
        ({"max_tokens": 512, "lr": 0.1}, {"max_tokens": 512, "lr": 0.1}),
        ({"key": None, "secret": True, "token": 5}, {"key": None, "secret": True, "token": 5}),
    ],
)
def test_params(params: dict[str, Any], cleaned: dict[str, Any]) -> None:
    assert redact_params(params) == cleaned


@pytest.mark.parametrize(
    "line",
    [
        f'+API_KEY = "{SECRET}"',
        f"+password: '{SECRET}'",
        f"+export HF_TOKEN={SECRET}",
        f"+# login failed: password={SECRET}",
        f'+    "client_secret": "{SECRET}",',
        f"+remote = https://user:{SECRET}@host/repo.git",
        f"-----BEGIN RSA PRIVATE KEY-----\n+{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f'+os.environ["WANDB_API_KEY"] = "{SECRET}"',
        f'+os.environ.setdefault("HF_TOKEN", "{SECRET}")',
        f'+os.getenv("API_KEY", "{SECRET}")',
        f'+API_KEY: str = "{SECRET}"',
        f'+api_key: Final[str] = "{SECRET}"',
        f'+api_key = (\n+    "{SECRET}"\n+)',
        f'+headers = {{"Authorization": "Bearer {SECRET}"}}',
        f'+password = "correct horse {SECRET}"',
        f'+password = "a,{SECRET}"',
        f'+password = "a\\"{SECRET}"',
        f'+config = \'{{\\"password\\": \\"{SECRET}\\"}}\'',
        f'+token = f"{SECRET}"',
        f"+password = b'{SECRET}'",
        f'+password = """\n+{SECRET}"""',
        f'+password = "{SECRET}',
        f'+wandb.login("{SECRET}")',
        f"+  - name: API_KEY\n+    value: {SECRET}",
        f"+train --api-key {SECRET}",
        f"+password: {WORDS}{SECRET}",
    ],
)
def test_secret_in_a_patch_is_taken_out(line: str) -> None:
    patch = f"--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n{line}\n"
    assert SECRET not in redact_source(patch)


@pytest.mark.parametrize(
    "line",
    [f"+password: {WORDS}", f"+API_KEY={WORDS}", f"+export TOKEN={WORDS}", "+DB_PASS=hunter"],
)
def test_words_are_a_secret_in_yaml_and_shell(line: str) -> None:
    cleaned = redact_source(f"{line}\n")
    assert cleaned.endswith(f"{REDACTED}\n")


@pytest.mark.parametrize(
    "line",
    [
        "+    tokens = tokenizer(text)[0]",
        '+token = os.environ["HF_TOKEN"]',
        "+def login(password: str, key: bytes) -> None:",
        "+    max_tokens = 1024",
        '+    pad_token = "<pad>"',
        "+    for key, value in items:",
        '+x.groupby(key="label")',
        '+{"key": "epoch"}',
        '+token = "hello"',
        '+if token == "hello, world!":',
        '+token_type="bert"',
        '+auth_type = "basic"',
        '+pwd = "/home"',
        "+token=tokenizer1.decode",
        "+    token: TokenClassifierOutput,",
        "+    password=password,",
        '+password = f"{user.password}"',
        '+secret = "/run/secrets/db"',
        '+api_key_name = "WANDB_API_KEY"',
        '+parser.add_argument("--api-key", "-k", help="the key")',
        "+HF_TOKEN=${HF_TOKEN}",
        '+key=r"[@a-zA-Z_-][a-zA-Z0-9_-]*=",',
        "+# `TOKEN=x`, then ``TOKEN=x``, and more of it.",
        '+if "-----BEGIN PRIVATE KEY-----" in text:\n+    fail()',
        "+git clone ssh://git@github.com/a/b",
    ],
)
def test_code_in_a_patch_stays(line: str) -> None:
    assert redact_source(line) == line


# The square of a megabyte would be minutes: the tests' own limit is the assertion.
@pytest.mark.parametrize("piece", ["a1", " ", '"', "a="])
def test_megabyte_is_searched_in_time(piece: str, within_cpu_s: WithinCpuS) -> None:
    with within_cpu_s(10):
        assert redact_source(piece * (1_000_000 // len(piece))).startswith(piece)


@pytest.mark.parametrize(
    "piece",
    ["a: ", "a-", "a.", "'", "://", "x@", "token=", 'token="', "eyJ-", "(", "{", "password: ",
     "key='\\", "token, ", "\n+", "-----BEGIN ", "?token=", "token\n+value"],
)  # fmt: skip
def test_time_grows_with_the_length_of_the_text(piece: str, within_cpu_s: WithinCpuS) -> None:
    text = piece * (200_000 // len(piece))
    with within_cpu_s(10):
        redact_source(text)
        redact_params({"note": text})
