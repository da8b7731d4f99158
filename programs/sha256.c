/* SHA-256 of a file. The only file that knows libcrypto. */
#include "sha256.h"

#include <openssl/evp.h>
#include "base/file_map.h"

int sha256_file(char hex[65], const char *path, struct error *err)
{
    struct file_map map;
    int rc = file_map_open(&map, path, err);
    if (rc != STATUS_OK) return rc;
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (!EVP_Digest(map.data ? (const void *)map.data : "", map.bytes, digest, NULL, EVP_sha256(), NULL))
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: libcrypto cannot compute SHA-256", path);
    for (int i = 0; rc == STATUS_OK && i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    file_map_close(&map);
    return rc;
}
