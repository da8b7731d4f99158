/* The list of architectures. A file of its own, so that a test program can bring another list. */
#include "model/deepseek_v4/v4.h"
#include "model/llama/llama.h"

const struct arch *const archs[] = {&arch_llama,    &arch_qwen2,       &arch_qwen3,
                                    &arch_qwen3moe, &arch_deepseek_v4, NULL};
