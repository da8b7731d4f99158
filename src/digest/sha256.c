/* SHA-256. The only file that knows libcrypto. */
#include "digest/sha256.h"

#include <openssl/evp.h>
#include "base/file_map.h"

bool sha256(const void *data, size_t bytes, uint8_t digest[32])
{
    return EVP_Digest(bytes ? data : "", bytes, digest, NULL, EVP_sha256(), NULL) == 1;
}

int sha256_file(char hex[65], const char *path, struct error *err)
{
    struct file_map map;
    uint8_t digest[32] = {0};
    int rc = file_map_open(&map, path, err);
    if (rc != STATUS_OK) return rc;
    if (!sha256(map.data, map.bytes, digest))
        rc = error_set(err, STATUS_UNSUPPORTED, "%s: libcrypto cannot compute SHA-256", path);
    for (int i = 0; rc == STATUS_OK && i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    file_map_close(&map);
    return rc;
}
