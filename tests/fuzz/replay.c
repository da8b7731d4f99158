/* Runs every file of a corpus folder through a fuzz target: replay FOLDER. For builds without a fuzzer. */
#include <dirent.h>
#include <stdio.h>
#include "base/buf.h"
#include "base/file_map.h"
#include "fuzz.h"

/* A copy that ends with the file, where a sanitizer sees every byte read past it. */
static int replay(const char *path)
{
    struct error err;
    struct buf b;
    buf_init(&b, 1 << 24);
    if (file_read(&b, path, &err) != STATUS_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint8_t *exact = malloc(b.n ? b.n : 1);
    if (!exact) return 1;
    if (b.n) memcpy(exact, b.p, b.n);
    LLVMFuzzerTestOneInput(exact, b.n);
    free(exact);
    buf_free(&b);
    return 0;
}

int main(int argc, char **argv)
{
    int n = 0, failed = 0;
    DIR *d = argc == 2 ? opendir(argv[1]) : NULL;
    if (!d) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        char path[4096];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
        failed += replay(path);
        n++;
    }
    closedir(d);
    printf("%d files\n", n);
    return failed || n == 0;
}
