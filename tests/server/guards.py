"""Every guard of docs/security.md, what it is in the code, and the tests that attack it.

    python -m tests.server.guards                   take each away in a copy of the tree, and see its tests fail
    python -m tests.server.guards limits TLS        those that have one of these words in what is said of them

It exits with 1 where tests stay green without their guard. `test_guards.py` holds this list to the page, to the code
and to the tests; what it cannot say is that the tests are red, which takes some minutes.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 240
COPIED = ("rtriton", "ops", "engine", "server", "tests", "docs", "deploy", "pyproject.toml")


@dataclass(frozen=True)
class Guard:
    """One place where a guard stands."""

    attack: str
    """How the line of the page begins that it is of."""
    file: str
    there: str
    """What it is in the file, once."""
    gone: str
    """The same without it."""
    tests: str
    """Files and names below `tests/`, at least one of which then fails."""


ATTACKS, ACCESS, FILES, JSON, LIMITS, PAGE = (
    f"server/test_attacks{rest}.py::" for rest in ("", "_access", "_files", "_json", "_limits", "_page")
)
GUARDS = (
    # ---- text and templates
    Guard("text of a message", "engine/chat_template.py",
          "while special in text:", "while False:",
          ATTACKS + "test_no_text_of_a_request_becomes_a_special_token"),
    Guard("a template in a request", "server/text.py",
          "sorted(set(options) - self.template.variables | set(options) & _GIVEN)", "sorted(set())",
          ATTACKS + "test_a_template_does_not_come_from_a_request"),
    Guard("a model file whose template loops", "engine/apart.py",
          "late = threading.Timer(seconds, process.kill)", "late = threading.Timer(60.0, process.kill)",
          FILES + "test_a_files_template_has_bounded_time_and_size"),
    Guard("a model file whose template loops", "engine/apart.py",
          "resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))", "pass",
          FILES + "test_a_files_template_has_bounded_memory"),
    Guard("a path as the `model`", "server/submits.py",
          "if name not in (None, text.name):", "if name not in (None, text.name) and not open(name).close():",
          FILES + "test_the_model_of_a_request_is_never_a_path"),
    # ---- bodies
    Guard("a large body", "server/body.py",
          "if seen > self.limit:\n                raise", "if False:\n                raise",
          ATTACKS + "test_a_body_above_4_mb_is_refused_declared_or_in_chunks"),
    Guard("a body that never ends", "server/body.py",
          "asyncio.timeout_at(deadline)", "asyncio.timeout_at(None)",
          ATTACKS + "test_a_body_that_never_ends_times_out"),
    Guard("a small body that unpacks", "server/body.py",
          'if packed.lower() != "identity":', "if False:",
          JSON + "test_a_packed_body_is_refused_as_such"),
    Guard("deep JSON", "server/json_text.py",
          "if depth(body) > DEPTH:", "if False:",
          ATTACKS + "test_json_that_nests_deeply_is_refused_before_it_is_parsed"),
    Guard("deep JSON", "server/json_text.py",
          "parse_constant=_no_constant, parse_float=_finite, ", "",
          ATTACKS + "test_numbers_that_json_has_not_are_refused_wherever_they_stand"),
    Guard("JSON that this server reads", "server/json_text.py",
          "if len(made) < len(members):", "if False:",
          JSON + "test_of_two_members_of_one_name_none_is_ignored"),
    Guard("JSON that this server reads", "server/json_text.py",
          'body.decode("utf-8-sig")', 'body.decode(json.detect_encoding(body), "surrogatepass")',
          JSON + "test_json_in_another_encoding_is_not_read"),
    Guard("JSON that this server reads", "server/json_text.py",
          '"".join(made).encode()', "pass",
          JSON + "test_half_a_character_is_refused_wherever_it_stands"),
    Guard("JSON that this server reads", "server/conversation.py",
          "unicode_throughout(parse(text.encode()))", "__import__('json').loads(text)",
          JSON + "test_arguments_of_calls_are_held_to_the_same"),
    Guard("millions of mistakes", "server/strict.py",
          "Field(fail_fast=True)", "Field()",
          JSON + "test_of_many_mistakes_the_first_is_enough"),
    Guard("millions of mistakes", "engine/tokenizer.py",
          "if len(text) > LONG:", "if False:",
          JSON + "test_while_a_long_text_becomes_tokens_other_threads_run"),
    Guard("millions of mistakes", "server/talk.py",
          "await asyncio.to_thread(work) if length > LONG_TEXT else work()", "work()",
          JSON + "test_long_texts_are_not_the_loops_work"),
    *(Guard("huge counts", *it, ATTACKS + "test_counts_and_lengths_have_limits") for it in (
        ("server/protocol.py", "MAX_MESSAGES = 4096", "MAX_MESSAGES = 1 << 30"),
        ("server/protocol.py", "MAX_CHOICES = 128", "MAX_CHOICES = 1 << 30"),
        ("server/sampling.py", "MAX_BIASES = 1024", "MAX_BIASES = 1 << 30"),
        ("server/sampling.py", "MAX_STOPS, MAX_STOP_LENGTH = 16, 1024", "MAX_STOPS, MAX_STOP_LENGTH = 1 << 30, 1024"),
        ("server/sampling.py", "MAX_STOPS, MAX_STOP_LENGTH = 16, 1024", "MAX_STOPS, MAX_STOP_LENGTH = 16, 1 << 30"),
        ("server/sampling.py", "Field([], max_length=256)", "Field([])"),
        ("engine/params.py", "MAX_LOGPROBS = 20", "MAX_LOGPROBS = 1000"),
        ("server/conversation.py", "MAX_TOOLS = 128", "MAX_TOOLS = 1 << 30"),
    )),
    Guard("huge counts", "server/embeddings.py", "MAX_INPUTS = 2048", "MAX_INPUTS = 1 << 30",
          "server/test_embeddings.py"),
    Guard("huge counts", "server/embeddings.py", "if total > MAX_INPUT_TOKENS:", "if False:",
          "server/test_embeddings.py"),
    Guard("huge counts", "server/responses_input.py", "MAX_ITEMS = 4096", "MAX_ITEMS = 1 << 30",
          ATTACKS + "test_a_response_has_so_many_items_and_tools"),
    Guard("a grammar or schema", "server/grammar.py", "if len(made) > LONGEST:", "if False:",
          ATTACKS + "test_counts_and_lengths_have_limits"),
    Guard("a grammar or schema", "server/grammar.py",
          "process.ask(made, COMPILE_SECONDS)", "process.ask(made, 60.0)",
          ATTACKS + "test_a_grammar_that_takes_long_to_compile_stops_no_other_and_is_given_up"),
    # ---- connections
    Guard("a head that comes slowly", "server/patient.py",
          "self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)", "pass",
          ATTACKS + "test_a_head_that_comes_slowly_is_cut"),
    Guard("a head that comes slowly", "server/patient.py", "if self._head > HEAD_BYTES:", "if False:",
          ATTACKS + "test_a_head_without_end_is_cut"),
    Guard("a request in the body of another", "server/patient.py",
          "data if in_body else _without_upgrade(data)", "data",
          "server/test_http.py::test_an_upgrade_is_passed_over_and_its_request_keeps_its_body"),
    Guard("a request in the body of another", "server/patient.py",
          "        Nothing more is read of what may be a body itself.\n        \"\"\"\n        self.transport.close()",
          "        \"\"\"\n        return",
          "server/test_http.py::test_no_body_is_taken_for_a_request"),
    # ---- keys
    Guard("a stranger", "server/gate.py", 'elif scope["path"] not in OPEN:', "elif False:",
          ACCESS + "test_every_route_but_two_needs_a_key"),
    Guard("a stranger", "server/gate.py",
          'frozenset({"/health", "/ready"})', 'frozenset({"/health", "/ready", "/docs"})',
          ACCESS + "test_every_route_but_two_needs_a_key"),
    Guard("a stranger", "server/gate.py", "if len(given) == 1 else None", "if given else None",
          ACCESS + "test_both_keys_open_and_two_at_once_do_not"),
    Guard("a stranger", "server/access.py", "hmac.compare_digest(asked, key.digest)", "asked == key.digest",
          ACCESS + "test_keys_are_kept_as_hashes_and_all_compared_in_constant_time"),
    Guard("a stranger", "server/run.py", "    os.environ.pop(VARIABLE, None)\n", "",
          ACCESS + "test_a_key_leaves_the_environment_and_an_open_server_warns"),
    Guard("a stranger", "server/keys.py", "    if not found:\n", "    if False:\n",
          ACCESS + "test_keys_come_from_a_file_and_the_environment_and_none_is_no_accident"),
    Guard("a stranger", "server/keys.py", "# the word itself is not said: it may be a part of a key\n",
          "pass\n        if name not in NAMES:\n            raise BadKeys(f'what is {word}?')\n",
          "server/test_limits.py::test_a_key_file_that_is_wrong_is_one_sentence_without_the_key"),
    Guard("a stranger", "server/sources.py", "if name.startswith(SECRETS) else", "if False else",
          "server/test_settings.py::test_a_key_where_its_file_is_wanted_is_not_repeated"),
    Guard("a stranger", "server/sources.py", "elif key in SECRETS:", "elif False:",
          "server/test_settings.py::test_a_secret_is_taken_from_no_file_and_shown_nowhere"),
    # ---- limits of keys and of time
    Guard("a key that asks for too much", "server/limits.py",
          "if meter.requests is not None and (seconds := meter.requests.wait(1)) > 0:", "if False:",
          LIMITS + "test_a_key_that_floods_is_refused_before_its_bodies_are_read_and_others_go_on"),
    Guard("a key that asks for too much", "server/limits.py",
          "if meter.tokens is not None and (seconds := meter.tokens.wait(1)) > 0:", "if False:",
          "server/test_limits.py"),
    Guard("a key that asks for too much", "server/limits.py",
          "if meter.tokens is not None and (seconds := meter.tokens.wait(tokens)) > 0:", "if False:",
          "server/test_limits.py"),
    Guard("a key that asks for too much", "server/limits.py",
          "if most is not None and meter.today >= most:", "if False:",
          "server/test_limits.py " + LIMITS[:-2]),
    Guard("a key that asks for too much", "server/limits.py",
          "if most is not None and len(meter.open) >= most:", "if False:",
          LIMITS + "test_a_key_that_opens_many_requests_has_few_and_keeps_nobody_waiting"),
    Guard("a key that asks for too much", "server/limits.py",
          "        meter.open.pop(record, None)\n", "        pass\n",
          "server/test_limits.py"),
    Guard("a key that asks for too much", "server/limits.py",
          'name = "" if key is None else key.name', 'name = record.account or ""',
          "server/test_limits.py " + LIMITS[:-2]),
    Guard("a key that asks for too much", "server/gate.py",
          'if record is None or record.method != "POST":', 'if record is None or record.route == "other":',
          LIMITS + "test_a_key_that_floods_is_refused_before_its_bodies_are_read_and_others_go_on"),
    Guard("a key that asks for too much", "server/app.py",
          "    app.add_middleware(LimitBody)\n    app.add_middleware(Limited, limiter=limiter)\n",
          "    app.add_middleware(LimitBody)\n",
          LIMITS + "test_without_keys_all_are_one_account_whatever_they_say_they_are"),
    Guard("a key that asks for too much", "server/usage.py", "used.tokens if used.day == today else {}", "{}",
          "server/test_limits.py::test_the_day_is_kept_in_a_file_and_a_new_day_is_a_new_one"),
    Guard("a generation, or a wait", "server/link.py",
          "self._timer = loop.call_later(self._deadline.left, self._expire, self._deadline.error)", "pass",
          LIMITS + "test_a_generation_that_would_hold_its_place_for_ever_has_an_end"),
    Guard("a generation, or a wait", "server/stream.py",
          "return self._sending > 0 and time.monotonic() - self._sending > self._stall_seconds", "return False",
          "server/test_stream.py server/test_life.py"),
    # ---- TLS, the network
    Guard("who listens on the way", "server/web.py", "**({} if tls is None else tls.for_uvicorn()),", "",
          "server/test_tls.py::test_the_official_client_chats_over_https_and_plain_http_gets_nothing"),
    Guard("who listens on the way", "server/tls.py", ', "ssl_cert_reqs": ssl.CERT_REQUIRED}', "}",
          "server/test_tls.py::test_the_official_client_chats_over_https_and_plain_http_gets_nothing"),
    Guard("who listens on the way", "server/tls.py", "        os.environ.pop(PASSWORD, None)\n", "        pass\n",
          "server/test_tls.py::test_the_password_of_a_key_leaves_the_environment_whatever_comes_of_it"),
    Guard("who listens on the way", "server/tls.py", "password: str | None = field(default=None, repr=False)",
          "password: str | None = None", "server/test_tls.py::test_what_fits_is_taken"),
    Guard("who listens on the way", "server/settings.py",
          '*map(_beside_certificate, ("ssl_keyfile", "ssl_keyfile_password_file", "ssl_ca_certs")),', "",
          "server/test_tls.py::test_a_key_or_an_authority_without_a_certificate_is_a_mistake"),
    Guard("a server that is open by mistake", "server/run.py", "if not keys and not is_loopback(address):", "if False:",
          ACCESS + "test_a_key_leaves_the_environment_and_an_open_server_warns"),
    Guard("a web page whose name points", "server/access.py", "if access.hosts is None:", "if True:",
          ACCESS + "test_on_loopback_other_names_in_the_host_header_are_refused"),
    Guard("a web page of another origin", "server/app.py", "    _add_error_handlers(app)\n    for",
          "    from starlette.middleware.cors import CORSMiddleware\n"
          "    app.add_middleware(CORSMiddleware, allow_origins=['*'])\n    _add_error_handlers(app)\n    for",
          ACCESS + "test_pages_of_other_origins_read_nothing_and_send_nothing"),
    # ---- pages
    Guard("text of a model or a person", "server/page/__init__.py",
          "\"; require-trusted-types-for 'script'; trusted-types 'none'\"", '""',
          PAGE + "test_pages_may_load_from_here_alone_and_be_shown_nowhere_else"),
    Guard("a page that is made to load", "rtriton/explore/local.py", "b\"default-src 'self'; ", 'b"',
          PAGE + "test_pages_may_load_from_here_alone_and_be_shown_nowhere_else"),
    Guard("a page that is made to load", "server/app.py", "        docs_url=None,\n        redoc_url=None,\n", "",
          PAGE + "test_pages_may_load_from_here_alone_and_be_shown_nowhere_else"),
    Guard("the page in a frame", "rtriton/explore/local.py", "frame-ancestors 'none'; ", "",
          PAGE + "test_pages_may_load_from_here_alone_and_be_shown_nowhere_else"),
    Guard("the page in a frame", "rtriton/explore/local.py",
          '    (b"cross-origin-resource-policy", b"same-origin"),\n', "",
          PAGE + "test_pages_may_load_from_here_alone_and_be_shown_nowhere_else"),
    Guard("a password that a browser remembers", "server/basic.py",
          "any(_values(scope, MARK)) and ", "",
          PAGE + "test_a_password_that_a_browser_remembers_is_of_no_use_to_another_sites_page"),
    Guard("a password that a browser remembers", "server/basic.py",
          'and set(_values(scope, b"sec-fetch-site")) <= {"same-origin"}', "",
          PAGE + "test_a_password_that_a_browser_remembers_is_of_no_use_to_another_sites_page"),
    Guard("a password that a browser remembers", "server/basic.py", 'scope["method"] in ("GET", "HEAD") and', "",
          PAGE + "test_a_browser_is_asked_for_a_key_where_it_is_led_and_nowhere_else"),
    Guard("a key left behind by the page", "server/page/static/api.js",
          "sessionStorage.setItem(KEPT, key)", "localStorage.setItem(KEPT, key)",
          PAGE + "test_pages_ask_for_nothing_from_elsewhere_and_make_no_html_of_text"),
    # ---- what is told
    Guard("reading the log", "server/journal.py", "[*self.ended.of(owner), *open_ones]",
          "[record for each in self.ended._by_account.values() for record in each]", "server/test_requests.py"),
    Guard("reading the log", "server/talk.py", "        return await off_loop(lambda: text.encode_chat(chat), length)",
          "        __import__('logging').getLogger('x').info('%s', chat)\n"
          "        return await off_loop(lambda: text.encode_chat(chat), length)",
          ACCESS + "test_no_key_and_no_prompt_is_logged"),
    Guard("reading the log", "server/gate.py", "        shown = bearer(given[0])",
          "        __import__('logging').getLogger('x').info('%s', given)\n        shown = bearer(given[0])",
          ACCESS + "test_no_key_and_no_prompt_is_logged"),
    Guard("pushing what others asked for", "server/ended.py", "if len(own) > self._of_one:", "if False:",
          "server/test_requests.py " + LIMITS[:-2]),
    Guard("pushing what others asked for", "server/ended.py", "max(self._by_account.values(), key=len)",
          "min(self._by_account.values(), key=len)", "server/test_requests.py " + LIMITS[:-2]),
    Guard("a request that writes lines", "server/journal.py", "isalnum() else repr(text)", "isalnum() else text",
          LIMITS + "test_what_a_client_sends_cannot_begin_a_line_of_the_log_or_a_label"),
    Guard("a request that writes lines", "server/record.py", "given is not None and ID.fullmatch(given)",
          "given is not None", "server/test_requests.py"),
    Guard("a request that writes lines", "server/journal.py",
          'scope["path"] if scope["path"] in self.routes else "other"', 'scope["path"]',
          LIMITS + "test_what_a_client_sends_cannot_begin_a_line_of_the_log_or_a_label"),
    Guard("a request that writes lines", "server/journal.py",
          'scope["method"] if scope["method"] in METHODS else "OTHER"', 'scope["method"]',
          LIMITS + "test_what_a_client_sends_cannot_begin_a_line_of_the_log_or_a_label"),
    Guard("a metrics page that everyone", "server/gate.py",
          'if aside != (scope["path"] == "/metrics"):', "if False:",
          ACCESS + "test_metrics_at_their_own_port_need_no_key_and_are_nowhere_else"),
    # ---- files
    Guard("a model file with false counts", "engine/weights/gguf.py", "if count > left:", "if False:",
          FILES + "test_false_counts_in_a_model_file_allocate_nothing"),
    Guard("a model file that carries code", "engine/fetch.py", "import errno\n", "import errno, pickle\n",
          FILES + "test_nothing_that_reads_models_or_requests_can_run_what_it_reads"),
    Guard("another user of the machine", "rtriton/cache.py",
          "folder().mkdir(parents=True, exist_ok=True, mode=0o700)", "folder().mkdir(parents=True, exist_ok=True)",
          FILES + "test_caches_are_private_and_a_changed_entry_is_not_read"),
    Guard("another user of the machine", "rtriton/cache.py",
          "if hashlib.sha256(body).hexdigest().encode() != checksum:", "if False:",
          FILES + "test_caches_are_private_and_a_changed_entry_is_not_read"),
    Guard("another user of the machine", "rtriton/compile.py",
          "path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)",
          "path.parent.mkdir(parents=True, exist_ok=True)",
          FILES + "test_what_compiling_leaves_on_disk_is_private"),
    Guard("another user of the machine", "rtriton/passes/__init__.py",
          'tempfile.mkdtemp(prefix="rtriton-")', "tempfile.gettempdir()",
          "passes/test_pipeline.py::test_where_nobody_says_where_to_an_input_is_left_in_a_folder_of_its_own"),
    Guard("another user of the machine", "rtriton/backend/cpu/jit.py",
          "exist_ok=True, mode=0o700)", "exist_ok=True)",
          FILES + "test_what_compiling_leaves_on_disk_is_private"),
)  # fmt: skip


def test_command(guard: Guard) -> list[str]:
    """What attacks it, as pytest is called."""
    named = [f"tests/{name}" for name in guard.tests.split()]
    return [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *named]


def without(guard: Guard, text: str) -> str:
    """The file's text when the guard is gone."""
    if text.count(guard.there) != 1:
        raise ValueError(f"{guard.file} has {guard.there!r} {text.count(guard.there)} times, once is wanted")
    return text.replace(guard.there, guard.gone)


def tried(guard: Guard, tree: Path) -> str:
    """How its tests end without it, in this copy: `red`, or what they are instead."""
    file = tree / guard.file
    text = file.read_text(encoding="utf-8")
    file.write_text(without(guard, text), encoding="utf-8")
    try:
        done = subprocess.run(test_command(guard), cwd=tree, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "NOT RED (no end)"
    finally:
        file.write_text(text, encoding="utf-8")
    last = (done.stdout.strip().splitlines() or [done.stderr.strip()])[-1]
    return "red" if done.returncode == 1 and " failed" in last else f"NOT RED ({last})"


def main(words: list[str]) -> int:
    """Try those that have one of the words, or all."""
    said = {it: f"{it.attack} {it.file} {it.there} {it.tests}" for it in GUARDS}
    chosen = [it for it in GUARDS if not words or any(word in said[it] for word in words)]
    green = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, tree / name)
        for guard in chosen:
            began = time.monotonic()
            found = tried(guard, tree)
            green += found != "red"
            what = " ".join(guard.there.split())
            print(f"{found:8} {time.monotonic() - began:4.0f} s  {guard.attack}: {guard.file}: {what:.80}", flush=True)
    print(f"{len(chosen) - green} of {len(chosen)} are red without their guard")
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
