/* The scanners behind the regular expressions of pre-tokenizers; pretokenizer.c says which is which. */
#ifndef FATHOM_TEXT_SPLITS_H
#define FATHOM_TEXT_SPLITS_H

#include "text/pretokenizer.h"

/* The position after the character, or the ill-formed byte, at `at`. */
size_t split_step(struct str text, size_t at, size_t end);

split_fn split_digit, split_digits, split_digits_3, split_cjk_kana, split_cjk_wide, split_newline,
    split_trailing_space;
split_fn split_space_letters, split_space_punctuation, split_space_cased, split_space_ascii_punctuation;
split_fn split_gpt2, split_qwen2, split_qwen35, split_llama3, split_deepseek_v3;

#endif
