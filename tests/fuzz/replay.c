/* tests/fuzz/replay.c - runs a fuzz target over the files of a folder, in place
 * of libFuzzer, so that every normal test run replays the corpus. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int one(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;
    size_t n;
    if (!f)
        return 0;
    bytes = malloc(1u << 24);
    n = bytes ? fread(bytes, 1, 1u << 24, f) : 0;
    (void)fclose(f);
    /* A copy of the exact size lets the address sanitizer see one byte too far. */
    uint8_t *exact = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++)
        exact[i] = bytes[i];
    free(bytes);
    (void)LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    return 1;
}

int main(int argc, char **argv)
{
    int n = 0;
    for (int i = 1; i < argc; i++) {
        DIR *d = opendir(argv[i]);
        struct dirent *e;
        while (d && (e = readdir(d))) {
            char path[4096];
            if (e->d_name[0] == '.')
                continue;
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], e->d_name);
            n += one(path);
        }
        if (d)
            (void)closedir(d);
    }
    printf("%d files replayed\n", n);
    return n ? 0 : 1; /* an empty corpus tests nothing */
}
