/* Which levels exist, which of them this machine runs, and the table filled for one of them. */
#include "kernels/levels.h"
#include "kernels/ref/ref.h"

#include <string.h>
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

void kernels_fill_ref(struct kernels *k)
{
#define KERNEL(ret, name, args) k->name = name##_ref;
#include "kernels/kernels.def"
#undef KERNEL
}

static bool always(void)
{
    return true;
}

#ifdef __aarch64__
static bool arm_has_dotprod(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
#endif

const struct isa_level isa_levels[] = {
    {"ref", "nothing beyond the baseline", always, kernels_fill_ref},
#ifdef __x86_64__
    {"avx2", "AVX2, FMA and F16C", x86_has_avx2, kernels_fill_avx2},
    {"avx512", "AVX-512 F, BW, VL and DQ", x86_has_avx512, kernels_fill_avx512},
    {"vnni", "AVX-512 with VNNI and VBMI", x86_has_vnni, kernels_fill_vnni},
#endif
#ifdef __aarch64__
    {"neon", "AArch64", always, kernels_fill_neon},
    {"dotprod", "AArch64 with the dot product instructions", arm_has_dotprod, kernels_fill_dotprod},
#endif
};
const int n_isa_levels = sizeof isa_levels / sizeof isa_levels[0];

int kernels_init(struct kernels *k, const char *isa, struct error *err)
{
    bool automatic = !isa || strcmp(isa, "auto") == 0;
    int chosen = -1;
    for (int i = 0; i < n_isa_levels; i++) {
        if (automatic ? isa_levels[i].available() : strcmp(isa, isa_levels[i].name) == 0) chosen = i;
    }
    if (chosen < 0)
        return error_set(err, STATUS_UNSUPPORTED, "instruction set level '%s' is not in this build", isa);
    if (!isa_levels[chosen].available())
        return error_set(err, STATUS_UNSUPPORTED,
                         "instruction set level '%s' needs %s, which this machine lacks", isa,
                         isa_levels[chosen].needs);
    memset(k, 0, sizeof *k);
    for (int i = 0; i <= chosen; i++)
        if (isa_levels[i].available()) isa_levels[i].fill(k);
    k->isa = isa_levels[chosen].name;
    return STATUS_OK;
}

matmul_fn *kernels_matmul(const struct kernels *k, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_F32: return k->matmul_f32;
    case DTYPE_F16: return k->matmul_f16;
    case DTYPE_BF16: return k->matmul_bf16;
    case DTYPE_Q8_0: return k->matmul_q8_0;
    case DTYPE_Q4_0: return k->matmul_q4_0;
    case DTYPE_Q4_1: return k->matmul_q4_1;
    case DTYPE_Q5_0: return k->matmul_q5_0;
    case DTYPE_Q5_1: return k->matmul_q5_1;
    case DTYPE_Q2_K: return k->matmul_q2_k;
    case DTYPE_Q4_K: return k->matmul_q4_k;
    case DTYPE_Q5_K: return k->matmul_q5_k;
    case DTYPE_Q6_K: return k->matmul_q6_k;
    case DTYPE_IQ2_XXS: return k->matmul_iq2_xxs;
    case DTYPE_MXFP4: return k->matmul_mxfp4;
    case DTYPE_FP8_E4M3: return k->matmul_fp8;
    case DTYPE_FP4_E2M1: return k->matmul_fp4;
    default: return NULL;
    }
}

matmul_packed_fn *kernels_matmul_packed(const struct kernels *k, enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q8_0: return k->matmul_packed_q8_0;
    case DTYPE_Q4_0: return k->matmul_packed_q4_0;
    case DTYPE_Q4_1: return k->matmul_packed_q4_1;
    case DTYPE_Q5_0: return k->matmul_packed_q5_0;
    case DTYPE_Q5_1: return k->matmul_packed_q5_1;
    case DTYPE_Q4_K: return k->matmul_packed_q4_k;
    case DTYPE_Q5_K: return k->matmul_packed_q5_k;
    case DTYPE_Q6_K: return k->matmul_packed_q6_k;
    case DTYPE_MXFP4: return k->matmul_packed_mxfp4;
    case DTYPE_FP8_E4M3: return k->matmul_packed_fp8;
    default: return NULL;
    }
}
