/* Faults while a model file is written: it is there whole, or the old one is. */
#include <string.h>
#include <unistd.h>
#include "format/checkpoint.h"
#include "format/gguf_write.h"
#include "format/safetensors_write.h"
#include "scenario.h"

static const uint64_t dim[2] = {3, 64};
static const uint8_t data[2 * 3 * 64 * 4];

static int write_safetensors(uint64_t *result, struct error *err)
{
    struct safetensors_writer *w = NULL;
    (void)result;
    int rc = safetensors_writer_open(&w, scenario_path("weights"), err);
    if (rc != STATUS_OK) return rc;
    rc = safetensors_metadata(w, STR("format"), STR("pt"), err);
    if (rc == STATUS_OK) rc = safetensors_declare(w, STR("a"), DTYPE_F32, 2, dim, err);
    if (rc == STATUS_OK) rc = safetensors_declare(w, STR("b"), DTYPE_F32, 2, dim, err);
    if (rc == STATUS_OK) rc = safetensors_data(w, data, sizeof data, err);
    if (rc == STATUS_OK) return safetensors_writer_finish(w, err);
    safetensors_writer_abandon(w);
    return rc;
}

static int write_gguf(uint64_t *result, struct error *err)
{
    struct gguf_writer *w = NULL;
    (void)result;
    int rc = gguf_writer_open(&w, scenario_path("weights"), 64, err);
    if (rc != STATUS_OK) return rc;
    rc = gguf_string(w, "general.architecture", "none", err);
    if (rc == STATUS_OK) rc = gguf_declare(w, STR("a"), DTYPE_F32, 2, dim, err);
    if (rc == STATUS_OK) rc = gguf_declare(w, STR("b"), DTYPE_F32, 2, dim, err);
    if (rc == STATUS_OK) rc = gguf_data(w, data, sizeof data, err);
    if (rc == STATUS_OK) return gguf_writer_finish(w, err);
    gguf_writer_abandon(w);
    return rc;
}

/* A file that stands under the final name is the old text or opens as a model. Puts the old one back. */
static bool intact(bool succeeded)
{
    static const char old[] = "old";
    const char *path = scenario_path("weights");
    char text[sizeof old] = "";
    FILE *f = fopen(path, "rb");
    bool whole = !f; /* before the first run there is none */
    if (f) {
        whole =
            !succeeded && fread(text, 1, sizeof text, f) == sizeof text && memcmp(text, old, sizeof old) == 0;
        fclose(f);
    }
    if (!whole) { /* replaced: the readers decide; safetensors are known by their name alone */
        struct checkpoint *c = NULL;
        const char *named = scenario_path("weights-copy.safetensors");
        whole = rename(path, named) == 0 && checkpoint_open(&c, named, NULL) == STATUS_OK &&
                checkpoint_find(c, "b");
        checkpoint_close(c);
        unlink(named);
    }
    f = fopen(path, "wb");
    bool written = f && fwrite(old, 1, sizeof old, f) == sizeof old;
    return f && fclose(f) == 0 && written && whole;
}

const struct scenario format_scenarios[] = {
    {"write safetensors", write_safetensors, intact},
    {"write GGUF", write_gguf, intact},
};
const size_t n_format_scenarios = sizeof format_scenarios / sizeof *format_scenarios;
