/* The tables of pre-tokenizers and of the regular expressions behind them, and the walk over the splits. The
 * scanners themselves are in splits.c. */
#include "text/pretokenizer.h"

#include "text/splits.h"

// clang-format off
static const struct pretokenizer table[] = {
    /* name             NFC    ignore merges, adds BOS   splits */
    {"deepseek-v3",     false, false, false, {split_digits_3, split_cjk_kana, split_deepseek_v3}},
    {"joyai-llm",       false, false, false, {split_digits_3, split_cjk_kana, split_deepseek_v3}},
    {"hunyuan-dense",   false, false, false, {split_digits_3, split_cjk_kana, split_deepseek_v3}},
    {"qwen2",           true,  false, false, {split_qwen2}},
    {"deepseek-r1-qwen", true, false, false, {split_qwen2}},
    {"qwen35",          true,  false, false, {split_qwen35}},
    {"llama-bpe",       false, true,  true,  {split_llama3}},
    {"llama3",          false, true,  true,  {split_llama3}},
    {"llama-v3",        false, true,  true,  {split_llama3}},
    {"gpt-2",           false, false, false, {split_gpt2}},
    {"mpt",             false, false, false, {split_gpt2}},
    {"olmo",            false, false, false, {split_gpt2}},
    {"phi-2",           false, false, false, {split_gpt2}},
    {"jais",            false, false, false, {split_gpt2}},
    {"trillion",        false, false, false, {split_gpt2}},
    {"smollm",          false, false, false, {split_digit, split_gpt2}},
    {"starcoder",       false, false, false, {split_digit, split_gpt2}},
    {"refact",          false, false, false, {split_digit, split_gpt2}},
    {"command-r",       false, false, false, {split_digit, split_gpt2}},
    {"codeshell",       false, false, false, {split_digit, split_gpt2}},
    {"exaone",          false, false, false, {split_digit, split_gpt2}},
    {"minerva",         false, false, false, {split_digit, split_gpt2}},
    {"deepseek-coder",  false, false, false,
     {split_newline, split_space_letters, split_space_punctuation, split_cjk_wide, split_digit}},
    {"deepseek-llm",    false, false, false,
     {split_newline, split_space_cased, split_space_ascii_punctuation, split_trailing_space, split_cjk_wide, split_digits}},
};

/* CR and LF are written as escapes here; files have them both ways. */
static const struct {
    const char *regex;
    split_fn *split;
} regexes[] = {
    {"\\p{N}", split_digit},
    {"\\p{N}+", split_digits},
    {"\\p{N}{1,3}", split_digits_3},
    {"[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", split_cjk_kana},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
     "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", split_deepseek_v3},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", split_qwen2},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", split_qwen35},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
     "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", split_llama3},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", split_gpt2},
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", split_gpt2},
    {"[\\r\\n]", split_newline},
    {"\\s?\\p{L}+", split_space_letters},
    {"\\s?\\p{P}+", split_space_punctuation},
    {"\\s+$", split_trailing_space},
    {"[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+", split_cjk_wide},
    {"\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+", split_space_ascii_punctuation},
};
// clang-format on

enum { N_TABLE = sizeof table / sizeof *table, N_REGEXES = sizeof regexes / sizeof *regexes };

const struct pretokenizer *pretokenizer_find(struct str name)
{
    for (int i = 0; i < N_TABLE; i++)
        if (str_is(name, table[i].name)) return &table[i];
    return NULL;
}

const struct pretokenizer *pretokenizer_match(split_fn *const split[PRETOKENIZER_MAX_SPLITS])
{
    for (int i = 0; i < N_TABLE; i++) {
        bool same = true;
        for (int k = 0; k < PRETOKENIZER_MAX_SPLITS; k++) same &= table[i].split[k] == split[k];
        if (same) return &table[i];
    }
    return NULL;
}

split_fn *pretokenizer_split(struct str regex)
{
    char text[512];
    size_t n = 0;
    for (size_t i = 0; i < regex.n; i++) {
        if (n + 2 > sizeof text) return NULL;
        char c = regex.p[i];
        if (c == '\r' || c == '\n') text[n++] = '\\';
        text[n++] = c == '\r' ? 'r' : c == '\n' ? 'n' : c;
    }
    for (int i = 0; i < N_REGEXES; i++)
        if (str_is((struct str){text, n}, regexes[i].regex)) return regexes[i].split;
    return NULL;
}

void pretoken_iter_init(struct pretoken_iter *it, split_fn *const split[PRETOKENIZER_MAX_SPLITS],
                        struct str text)
{
    *it = (struct pretoken_iter){.text = text, .split = split};
    while (it->n_levels < PRETOKENIZER_MAX_SPLITS && split[it->n_levels]) it->n_levels++;
    it->level[0].end = text.n;
}

/* The next piece of one level: a match, or the gap up to the next match. */
static struct str level_next(struct pretoken_iter *it, int k)
{
    size_t from = it->level[k].at, end = it->level[k].end, to = it->level[k].match_end;
    it->level[k].match_end = 0;
    if (!to) {
        size_t at = from;
        for (to = at; at < end; at = to = split_step(it->text, at, end))
            if ((to = it->split[k](it->text, it->level[k].start, at, end)) > at) break;
        if (at > from && at < end) {
            it->level[k].match_end = to;
            to = at;
        }
    }
    it->level[k].at = to;
    return str_slice(it->text, from, to);
}

bool pretoken_next(struct pretoken_iter *it, struct str *piece)
{
    if (it->n_levels == 0) {
        *piece = it->text;
        it->text.n = 0;
        return piece->n > 0;
    }
    int k = it->n_levels - 1;
    while (k > 0 && it->level[k].at == it->level[k].end) k--;
    if (it->level[k].at == it->level[k].end) return false;
    for (;; k++) {
        *piece = level_next(it, k);
        if (k + 1 == it->n_levels) return true;
        size_t from = (size_t)(piece->p - it->text.p);
        it->level[k + 1].start = it->level[k + 1].at = from;
        it->level[k + 1].end = from + piece->n;
    }
}
