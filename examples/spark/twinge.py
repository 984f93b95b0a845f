"""Runs a detector module: numbers in, scores and verdicts out, as docs/abi.md says.

It shares no code with the engine in Rust or the runtime in JavaScript, and gives the same bits. It
knows nothing of Spark, lakes or signatures: check where a module comes from before it gets here.
"""

import functools
import hashlib
import json
import re
import threading

import numpy
import pandas
import wasmtime

VERDICTS = numpy.array(["normal", "anomalous", "warming-up", "invalid"], dtype=object)
"""Names of a verdict's low byte."""
LATE, CONTINUES = 1 << 8, 1 << 9
"""Bits of a verdict beside its low byte."""

ABI_VERSION = 1
MODULE_BYTES_MAX = 32 << 20
MANIFEST_BYTES_MAX = 1 << 20
MEMORY_BYTES_MAX = 256 << 20
STATE_BYTES_MAX = 65_536
FIELDS_MAX = 255
LAYOUT_WORDS = 10

BATCH_ROWS = 4096
"""Rows of a call. Any number gives the same scores."""
CALL_SECONDS_MAX = 60
"""A host is stricter; here a machine may be busy with other tasks."""

SINGLE_ENTITY = "all"
"""The entity of events whose schema names none."""


class Refused(Exception):
    """A module or lake that cannot be worked with; says why, and what helps."""


@functools.lru_cache(maxsize=2)
def detector(module):
    """The detector of a module's bytes: compiled once in each process, however many groups it scores."""
    return Detector(module)


class Detector:
    """A compiled module. Its instance outlives calls, since nothing but states is remembered."""

    def __init__(self, module):
        self.manifest = manifest_of(module)
        self.fields = len(fields_of(self.manifest["schema"]))
        self.state_bytes = self.manifest["state_bytes"]
        config = wasmtime.Config()
        config.epoch_interruption = True
        config.wasm_memory64 = config.wasm_multi_memory = config.wasm_relaxed_simd = False
        self._engine = wasmtime.Engine(config)
        self._module = wasmtime.Module(self._engine, module)
        for wanted in self._module.imports:
            raise Refused(f"module imports `{wanted.module}.{wanted.name}`: a detector imports nothing")
        self._instance = None

    def score_entities(self, entities, times, inputs):
        """Scores rows in order; the rows of an entity stand together, and nobody has a past.

        entities: a number for each row, not falling. times: milliseconds since 1970, 0 where the
        schema has none. inputs: rows by fields, NaN is missing. Answers with scores and verdicts.
        """
        scores, verdicts = numpy.empty(len(times)), numpy.empty(len(times), dtype="u4")
        latest, carried = None, None
        for start in range(0, len(times), BATCH_ROWS):
            rows = slice(start, start + BATCH_ROWS)
            _, slots = numpy.unique(entities[rows], return_inverse=True)
            states = numpy.zeros((slots[-1] + 1, self.state_bytes), dtype="u1")
            if entities[start] == latest:
                states[0] = carried
            scores[rows], verdicts[rows], states = self.score(times[rows], slots, inputs[rows], states)
            latest, carried = entities[rows][-1], states[-1]
        return scores, verdicts

    def score(self, times, slots, inputs, states):
        """One call: scores, verdicts and new states of rows, each of the state that its slot names."""
        try:
            self._instance = self._instance or Instance(self)
            return self._instance.score(times, slots, inputs, states)
        except BaseException:
            # Whatever the failed call left in memory, nobody sees it again.
            self._instance = None
            raise


class Instance:
    """An instance of a detector's module, and the room that it has prepared."""

    def __init__(self, detector):
        self._engine, self._fields = detector._engine, detector.fields
        self._state_bytes = detector.state_bytes
        self._store = wasmtime.Store(self._engine)
        self._store.set_limits(MEMORY_BYTES_MAX, table_elements=10_000, instances=1, tables=4, memories=1)
        with self._deadline():
            exports = wasmtime.Instance(self._store, detector._module, []).exports(self._store)
        try:
            self._memory = exports["memory"]
            version, self._prepare, self._score = (exports[f"twinge_{name}"] for name in ("abi", "prepare", "score"))
        except KeyError as missing:
            raise Refused(f"module has no export {missing}: it is no detector") from None
        if self._call(version) != ABI_VERSION:
            raise Refused(f"module does not speak version {ABI_VERSION} of the interface")
        self._room = (0, 0)
        self._make_room(1, 1)

    def score(self, times, slots, inputs, states):
        rows, count = len(times), len(states)
        layout = self._make_room(rows, count)
        self._write(layout["times"], times, "<f8")
        self._write(layout["entities"], slots, "<u4")
        self._write(layout["inputs"], inputs, "<f8")
        self._write(layout["states"], states, "u1")
        code = self._call(self._score, rows, count, 0)
        if code != 0:
            raise RuntimeError(f"module answered error {code} of docs/abi.md")
        scores = self._read(layout["scores"], "<f8", rows)
        verdicts = self._read(layout["verdicts"], "<u4", rows)
        attributions = self._read(layout["attributions"], "<f4", rows * (self._fields + 1))
        states = self._read(layout["states"], "u1", count * self._state_bytes)
        known = (verdicts & 0xFF < len(VERDICTS)) & (verdicts & ~numpy.uint32(0xFF | LATE | CONTINUES) == 0)
        if not (known.all() and numpy.isfinite(scores).all() and numpy.isfinite(attributions).all()):
            raise RuntimeError("module answered with what is no verdict")
        return scores, verdicts, states.reshape(count, self._state_bytes)

    def _make_room(self, rows, count):
        if rows > self._room[0] or count > self._room[1]:
            room = (max(power_of_two(max(rows, count)), self._room[0]), max(power_of_two(count), self._room[1]))
            address = self._call(self._prepare, *room)
            if address == 0:
                raise RuntimeError(f"module has no room for {rows} rows and {count} states")
            words = self._read(address, "<u4", LAYOUT_WORDS).tolist()
            self._layout, self._room = self._checked(words, *room), room
        return self._layout

    def _checked(self, words, rows, count):
        bytes_of = {
            "times": 8 * rows,
            "entities": 4 * rows,
            "inputs": 8 * rows * self._fields,
            "states": count * self._state_bytes,
            "scores": 8 * rows,
            "verdicts": 4 * rows,
            "attributions": 4 * rows * (self._fields + 1),
        }
        fits = words[:2] == [self._fields, self._state_bytes]
        layout = dict(zip(bytes_of, words[2:]))
        end = self._memory.data_len(self._store)
        if not fits or any(layout[name] % 8 or layout[name] + size > end for name, size in bytes_of.items()):
            raise RuntimeError("module placed its batch wrongly")
        return layout

    def _call(self, function, *arguments):
        with self._deadline():
            return function(self._store, *arguments) & 0xFFFF_FFFF

    def _deadline(self):
        self._store.set_epoch_deadline(1)
        return Deadline(self._engine)

    # Memory is looked at anew each time: it is another one whenever it has grown.
    def _bytes(self):
        return numpy.frombuffer(self._memory.get_buffer_ptr(self._store), dtype="u1")

    def _write(self, address, values, kind):
        values = numpy.ascontiguousarray(values, dtype=kind).reshape(-1).view("u1")
        self._bytes()[address : address + len(values)] = values

    def _read(self, address, kind, count):
        size = numpy.dtype(kind).itemsize * count
        if address + size > self._memory.data_len(self._store):
            raise RuntimeError("module placed its batch outside of its memory")
        return self._bytes()[address : address + size].view(kind).copy()


class Deadline:
    """Stops what a module does while it is entered for too long."""

    def __init__(self, engine):
        self._timer = threading.Timer(CALL_SECONDS_MAX, engine.increment_epoch)
        self._timer.daemon = True

    def __enter__(self):
        self._timer.start()

    def __exit__(self, *_):
        self._timer.cancel()


def manifest_of(module):
    """What a module tells about itself, read without running anything."""
    if len(module) > MODULE_BYTES_MAX:
        raise Refused(f"module has {len(module)} bytes: at most {MODULE_BYTES_MAX} are accepted")
    if module[:8] != b"\0asm\1\0\0\0":
        raise Refused("module is no WebAssembly: give a file that `trainer train` wrote")
    found = [content for name, content in custom_sections(module) if name == b"twinge.manifest"]
    if len(found) != 1 or len(found[0]) > MANIFEST_BYTES_MAX:
        raise Refused(f"module has {len(found)} usable sections `twinge.manifest`, and a detector has one")
    manifest = json.loads(found[0])
    check_manifest(manifest)
    return manifest


def custom_sections(module):
    """Names and contents of a module's custom sections."""
    at = 8
    while at < len(module):
        kind, (size, start) = module[at], leb128(module, at + 1)
        at = start + size
        if at > len(module):
            raise Refused("module is truncated: fetch or train it again")
        if kind == 0:
            length, name = leb128(module, start)
            yield module[name : name + length], module[name + length : at]


def leb128(data, at):
    """A number of WebAssembly's, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 35:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
    raise Refused("module is truncated: fetch or train it again")


def check_manifest(manifest):
    """Refuses a module whose inputs or states would be made wrongly."""
    schema, stream, state_bytes = manifest["schema"], manifest["stream"], manifest["state_bytes"]
    if manifest["abi"] != ABI_VERSION:
        raise Refused(f"module speaks interface version {manifest['abi']}, and this program {ABI_VERSION}")
    # A key that is not known may mean that rows are made in another way.
    known = {"entity", "time", "time_format", "numeric", "categorical", "label"}
    known_of_stream = {"lateness_s", "skew_max_s", "warm_up_events", "entities_max"}
    for key in (schema.keys() - known) | (stream.keys() - known_of_stream):
        raise Refused(f"module's manifest has a key `{key}` that this program does not know")
    if not 1 <= len(fields_of(schema)) <= FIELDS_MAX:
        raise Refused("module's schema names no input, or too many")
    if state_bytes % 8 or not 0 <= state_bytes <= STATE_BYTES_MAX:
        raise Refused(f"module's states of {state_bytes} bytes are not a multiple of 8 of at most {STATE_BYTES_MAX}")
    if not re.fullmatch("[a-z0-9-]{1,64}", manifest["name"]):
        raise Refused("module's name is not 1 to 64 of a-z, 0-9 and -")


def fields_of(schema):
    """Names of the inputs, in the order of a row."""
    return [*schema.get("numeric", []), *schema.get("categorical", [])]


def category_code(text):
    """The code of a category: the upper 52 bits of the 64-bit FNV-1a hash of its UTF-8 bytes."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return float(value >> 12)


def category_codes(texts):
    """The codes of a column; NaN where there is none. The empty text is none either."""
    places, words = pandas.factorize(texts)
    codes = [category_code(word) if word else numpy.nan for word in words]
    return numpy.array([*codes, numpy.nan])[places]


def inputs_of(frame, numeric, categorical):
    """Input rows of the columns of a frame."""
    numbers = [frame[name].to_numpy("f8", na_value=numpy.nan) for name in numeric]
    categories = [category_codes(frame[name]) for name in categorical]
    return numpy.column_stack(numbers + categories)


def hash_of(*parts):
    """The first eight bytes of SHA-256 of the parts, each behind its length, as a number."""
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).digest()
    return int.from_bytes(digest[:8], "little")


def power_of_two(number):
    """The least that is not below."""
    return 1 << (max(number, 1) - 1).bit_length()
