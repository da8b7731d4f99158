/* Any bytes as config.json. */
#include "format/hf_files.h"
#include "format/parsed_file.h"
#include "fuzz.h"
#include "read_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct config c;
    int rc = config_init(&c, &err);
    if (rc == STATUS_OK)
        rc = config_add(&c, "f", (struct str){(const char *)data, size}, "generation.", &err);
    if (rc == STATUS_OK) rc = metadata_sort(c.entries, c.n, "f", &err);
    CHECK(rc == STATUS_OK || (err.code == rc && err.text[0]));
    struct metadata m = {"f", c.n, c.entries};
    if (rc == STATUS_OK) read_metadata(&m);
    config_free(&c);
    return 0;
}
