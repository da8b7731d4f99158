/* A tokenizer.json in the shape of DeepSeek V4's own: byte-level BPE, its pre-tokenizer, its control tokens.
 *
 *     0 1 2                  BOS, EOS, padding
 *     3 .. 258               the bytes
 *     259 ..                 merges by rank
 *     n_vocab - N_TOP ..     the other control tokens, in the order of the release */
#include "base/json.h"
#include "base/utf8.h"
#include "data/bpe_train.h"
#include "text/tokenizer.h"

/* special: as the release declares it. Think tags, roles and DSML are not, so that a decoder that drops
 * special tokens still shows them. */
static const struct {
    const char *text;
    bool special;
} controls[] = {
    {"<｜begin▁of▁sentence｜>", true},
    {"<｜end▁of▁sentence｜>", true},
    {"<｜▁pad▁｜>", true},
    {"<｜place▁holder▁no▁0｜>", true},
    {"<｜place▁holder▁no▁1｜>", true},
    {"<｜place▁holder▁no▁2｜>", true},
    {"<｜fim▁hole｜>", false},
    {"<｜fim▁begin｜>", false},
    {"<｜fim▁end｜>", false},
    {"<｜User｜>", false},
    {"<｜Assistant｜>", false},
    {"<｜begin▁of▁repo▁name｜>", false},
    {"<｜end▁of▁repo▁name｜>", false},
    {"<｜begin▁of▁file▁name｜>", false},
    {"<｜end▁of▁file▁name｜>", false},
    {"<｜begin▁of▁file｜>", false},
    {"<｜end▁of▁file｜>", false},
    {"<think>", false},
    {"</think>", false},
    {"｜DSML｜", false},
    {"<｜latest_reminder｜>", false},
    {"<｜action｜>", false},
    {"<｜query｜>", false},
    {"<｜authority｜>", false},
    {"<｜domain｜>", false},
    {"<｜title｜>", false},
    {"<｜read_url｜>", false},
};
enum { N_CONTROLS = sizeof controls / sizeof *controls, N_TOP = N_CONTROLS - BPE_FIRST_BYTE };

/* The three splits of the release. */
static const char *const regexes[] = {
    "\\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
     "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
};

int bpe_n_merges(int n_vocab)
{
    return n_vocab - BPE_FIRST_MERGE - N_TOP;
}

size_t bpe_next_control(struct str text, size_t from, size_t *n)
{
    size_t first = text.n;
    *n = 0;
    for (int i = 0; i < N_CONTROLS; i++) {
        struct str control = str_from(controls[i].text);
        size_t at = str_find(str_slice(text, 0, first), control, from);
        if (at != (size_t)-1) first = at, *n = control.n;
    }
    return first;
}

static void write_added(struct json_writer *w, int n_vocab)
{
    json_key(w, "added_tokens"), json_open(w, '[');
    for (int i = 0; i < N_CONTROLS; i++) {
        json_open(w, '{');
        json_key(w, "id"), json_int(w, i < BPE_FIRST_BYTE ? i : n_vocab - N_CONTROLS + i);
        json_key(w, "content"), json_str(w, str_from(controls[i].text));
        static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++) json_key(w, flags[k]), json_bool(w, false);
        json_key(w, "special"), json_bool(w, controls[i].special);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void write_byte_level(struct json_writer *w, const char *key)
{
    if (key) json_key(w, key);
    json_open(w, '{');
    json_key(w, "type"), json_str(w, STR("ByteLevel"));
    json_key(w, "add_prefix_space"), json_bool(w, false);
    json_key(w, "trim_offsets"), json_bool(w, true);
    json_key(w, "use_regex"), json_bool(w, false);
    json_close(w, '}');
}

static void write_rules(struct json_writer *w)
{
    json_key(w, "normalizer"), json_null(w);
    json_key(w, "pre_tokenizer"), json_open(w, '{');
    json_key(w, "type"), json_str(w, STR("Sequence"));
    json_key(w, "pretokenizers"), json_open(w, '[');
    for (size_t i = 0; i < sizeof regexes / sizeof *regexes; i++) {
        json_open(w, '{');
        json_key(w, "type"), json_str(w, STR("Split"));
        json_key(w, "pattern"), json_open(w, '{');
        json_key(w, "Regex"), json_str(w, str_from(regexes[i]));
        json_close(w, '}');
        json_key(w, "behavior"), json_str(w, STR("Isolated"));
        json_key(w, "invert"), json_bool(w, false);
        json_close(w, '}');
    }
    write_byte_level(w, NULL);
    json_close(w, ']');
    json_close(w, '}');
    write_byte_level(w, "post_processor");
    write_byte_level(w, "decoder");
}

/* The spelling of every token in the byte alphabet: views into text. */
struct spellings {
    struct buf text;
    size_t at[BPE_VOCAB_MAX + 1];
};

static struct str spelling(const struct spellings *s, int id)
{
    return str_slice(buf_view(&s->text), s->at[id], s->at[id + 1]);
}

static void spell_all(struct spellings *s, const struct bpe_pair *merges, int n)
{
    int id = BPE_FIRST_BYTE;
    for (uint32_t cp = 0; cp < 0x200; cp++) /* the bytes in the order of their spelling */
        for (int b = 0; b < 256; b++) {
            if (byte_alphabet((uint8_t)b) != cp) continue;
            char utf8[4];
            s->at[id++] = s->text.n;
            buf_append(&s->text, utf8, (size_t)utf8_encode(utf8, cp));
        }
    for (int i = 0; i < n; i++) {
        s->at[id] = s->text.n;
        if (!buf_reserve(&s->text, 256)) return; /* what is copied must not move meanwhile */
        buf_str(&s->text, spelling(s, merges[i].left));
        buf_str(&s->text, spelling(s, merges[i].right));
        s->at[++id] = s->text.n;
    }
    s->at[id] = s->text.n;
}

static void write_model(struct json_writer *w, const struct spellings *s, const struct bpe_pair *merges,
                        int n)
{
    struct buf line;
    buf_init(&line, 1 << 12);
    json_key(w, "model"), json_open(w, '{');
    json_key(w, "type"), json_str(w, STR("BPE"));
    static const char *const unset[] = {"dropout", "unk_token", "continuing_subword_prefix",
                                        "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof unset / sizeof *unset; i++) json_key(w, unset[i]), json_null(w);
    json_key(w, "fuse_unk"), json_bool(w, false);
    json_key(w, "byte_fallback"), json_bool(w, false);
    json_key(w, "vocab"), json_open(w, '{');
    for (int i = 0; i < BPE_FIRST_BYTE; i++) json_key(w, controls[i].text), json_int(w, i);
    for (int id = BPE_FIRST_BYTE; id < BPE_FIRST_MERGE + n; id++) {
        buf_clear(&line);
        buf_str(&line, spelling(s, id));
        json_key(w, buf_cstr(&line)), json_int(w, id);
    }
    json_close(w, '}');
    json_key(w, "merges"), json_open(w, '[');
    for (int i = 0; i < n; i++) {
        buf_clear(&line);
        buf_str(&line, spelling(s, merges[i].left));
        buf_putc(&line, ' ');
        buf_str(&line, spelling(s, merges[i].right));
        json_str(w, buf_view(&line));
    }
    json_close(w, ']');
    json_close(w, '}');
    buf_free(&line);
}

int bpe_write_tokenizer(struct buf *out, const struct bpe_pair *merges, int n_merges, int n_vocab,
                        struct error *err)
{
    if (n_vocab < BPE_VOCAB_MIN || n_vocab > BPE_VOCAB_MAX)
        return error_set(err, STATUS_RANGE, "a vocabulary of %d ids, expected %d to %d", n_vocab,
                         BPE_VOCAB_MIN, BPE_VOCAB_MAX);
    if (n_merges != bpe_n_merges(n_vocab))
        return error_set(
            err, STATUS_RANGE,
            "the text yields %d merges, a vocabulary of %d ids needs %d: give more text or ask for fewer ids",
            n_merges, n_vocab, bpe_n_merges(n_vocab));
    struct spellings *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, STATUS_NOMEM, "tokenizer.json");
    buf_init(&s->text, 1 << 26);
    spell_all(s, merges, n_merges);
    struct json_writer w;
    json_writer_init(&w, out);
    json_open(&w, '{');
    json_key(&w, "version"), json_str(&w, STR("1.0"));
    json_key(&w, "truncation"), json_null(&w);
    json_key(&w, "padding"), json_null(&w);
    write_added(&w, n_vocab);
    write_rules(&w);
    write_model(&w, s, merges, n_merges);
    json_close(&w, '}');
    bool failed = out->failed || s->text.failed;
    buf_free(&s->text);
    free(s);
    return failed ? error_set(err, STATUS_NOMEM, "tokenizer.json") : STATUS_OK;
}
