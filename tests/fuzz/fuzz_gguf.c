/* Any bytes as a GGUF file. */
#include "format/parsed_file.h"
#include "fuzz.h"
#include "read_all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct parsed_file p;
    int rc = gguf_parse(&p, "f", data, size, &err);
    CHECK(rc == STATUS_OK || (err.code == rc && err.text[0]));
    if (rc != STATUS_OK) return 0;
    read_metadata(&p.metadata);
    read_tensors(p.tensors, p.n_tensors);
    parsed_file_free(&p);
    return 0;
}
