/* Cores, memory and limits, from /proc and the control groups (Linux: proc(5), cgroups(7)). */
#include "engine/machine.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"

enum { TEXT_MAX = 1 << 20, PATH_BYTES = 4096, NO_LIMIT_BITS = 62 };

/* Reads a small file of unknown size; "" when it cannot be read. */
static struct str read_text(struct buf *b, const char *root, const char *path)
{
    char name[PATH_BYTES];
    buf_clear(b);
    if (snprintf(name, sizeof name, "%s%s", root, path) >= (int)sizeof name) return STR("");
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return STR("");
    char chunk[4096];
    for (ssize_t n; (n = read(fd, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR);)
        if (n > 0) buf_append(b, chunk, (size_t)n);
    close(fd);
    return b->failed ? STR("") : buf_view(b);
}

/* Takes the next line off *text; false at the end. */
static bool next_line(struct str *text, struct str *line)
{
    if (text->n == 0) return false;
    size_t end = str_find(*text, STR("\n"), 0);
    size_t n = end == (size_t)-1 ? text->n : end;
    *line = str_slice(*text, 0, n);
    *text = str_slice(*text, n < text->n ? n + 1 : n, text->n);
    return true;
}

/* The number after leading blanks; false when there is none ("max"). */
static bool parse_number(struct str s, uint64_t *out)
{
    size_t i = 0;
    while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t')) i++;
    if (i == s.n || !isdigit((unsigned char)s.p[i])) return false;
    uint64_t x = 0;
    for (; i < s.n && isdigit((unsigned char)s.p[i]); i++)
        x = x > UINT64_MAX / 16 ? x : x * 10 + (uint64_t)(s.p[i] - '0');
    *out = x;
    return true;
}

/* Value of the line that starts with key ("MemAvailable:", "inactive_file "). */
static bool find_number(struct str text, struct str key, uint64_t *out)
{
    struct str line;
    while (next_line(&text, &line))
        if (str_starts(line, key)) return parse_number(str_slice(line, key.n, line.n), out);
    return false;
}

/* The i-th field of a line, split at single blanks. */
static struct str field(struct str line, int i)
{
    size_t at = 0;
    for (; i > 0; i--) {
        at = str_find(line, STR(" "), at);
        if (at == (size_t)-1) return STR("");
        at++;
    }
    size_t end = str_find(line, STR(" "), at);
    return str_slice(line, at, end == (size_t)-1 ? line.n : end);
}

/* Is word an item of a comma-separated list? */
static bool in_list(struct str list, struct str word)
{
    for (size_t at = 0; at <= list.n;) {
        size_t end = str_find(list, STR(","), at);
        if (end == (size_t)-1) end = list.n;
        if (str_equal(str_slice(list, at, end), word)) return true;
        at = end + 1;
    }
    return false;
}

struct cgroup {
    char path[PATH_BYTES]; /* directory of this process's group */
    size_t top;            /* length of the mount point: the walk to the ancestors ends there */
    bool v2;
};

/* Path of this process in the hierarchy of `controller` ("" for v2): lines "id:controllers:path". */
static bool cgroup_path(struct str text, struct str controller, struct str *path)
{
    struct str line;
    while (next_line(&text, &line)) {
        size_t a = str_find(line, STR(":"), 0), b = a == (size_t)-1 ? a : str_find(line, STR(":"), a + 1);
        if (b == (size_t)-1) continue;
        struct str list = str_slice(line, a + 1, b);
        if (controller.n ? in_list(list, controller) : list.n == 0) {
            *path = str_slice(line, b + 1, line.n);
            return true;
        }
    }
    return false;
}

/* Mount point and mounted root of the hierarchy: mountinfo lines "id parent dev ROOT POINT options... - TYPE
 * source SUPER". */
static bool cgroup_mount(struct str text, struct str controller, struct str *root, struct str *point)
{
    struct str line;
    while (next_line(&text, &line)) {
        size_t dash = str_find(line, STR(" - "), 0);
        if (dash == (size_t)-1) continue;
        struct str tail = str_slice(line, dash + 3, line.n);
        bool hit = controller.n ? str_is(field(tail, 0), "cgroup") && in_list(field(tail, 2), controller)
                                : str_is(field(tail, 0), "cgroup2");
        if (!hit) continue;
        *root = field(line, 3);
        *point = field(line, 4);
        return true;
    }
    return false;
}

static bool cgroup_find(struct cgroup *g, const char *sys_root, struct str controller)
{
    struct buf groups, mounts;
    struct str path, root, point;
    buf_init(&groups, TEXT_MAX);
    buf_init(&mounts, TEXT_MAX);
    bool found =
        cgroup_path(read_text(&groups, sys_root, "/proc/self/cgroup"), controller, &path) &&
        cgroup_mount(read_text(&mounts, sys_root, "/proc/self/mountinfo"), controller, &root, &point);
    if (found) {
        /* A container may see only a part of the hierarchy: drop the part of the path that lies above the
         * mounted root. */
        if (root.n > 1 && str_starts(path, root))
            path = str_slice(path, root.n, path.n);
        else if (root.n > 1)
            path = STR("");
        if (path.n == 1) path = STR("");
        g->v2 = controller.n == 0;
        g->top = point.n;
        found = snprintf(g->path, sizeof g->path, "%.*s%.*s", STR_ARG(point), STR_ARG(path)) <
                (int)sizeof g->path;
    }
    buf_free(&groups);
    buf_free(&mounts);
    return found;
}

/* A file of the group; "" when absent. */
static struct str cgroup_read(struct buf *b, const struct cgroup *g, const char *sys_root, const char *file)
{
    char name[PATH_BYTES];
    if (snprintf(name, sizeof name, "%s/%s", g->path, file) >= (int)sizeof name) return STR("");
    return read_text(b, sys_root, name);
}

/* Moves to the parent; false above the mount point. */
static bool cgroup_up(struct cgroup *g)
{
    char *slash = strrchr(g->path, '/');
    if (!slash || (size_t)(slash - g->path) < g->top) return false;
    *slash = '\0';
    return true;
}

/* Memory limit of the group and its ancestors: keeps the one that leaves least. */
static void read_memory_limit(struct machine *m, const char *sys_root, struct cgroup g)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    do {
        uint64_t limit, used = 0, n = 0, cache = 0;
        if (!parse_number(cgroup_read(&b, &g, sys_root, g.v2 ? "memory.max" : "memory.limit_in_bytes"),
                          &limit))
            continue;
        if (limit >> NO_LIMIT_BITS) continue; /* v1 spells "none" as a huge number */
        parse_number(cgroup_read(&b, &g, sys_root, g.v2 ? "memory.current" : "memory.usage_in_bytes"), &used);
        struct str stat = cgroup_read(&b, &g, sys_root, "memory.stat");
        if (find_number(stat, g.v2 ? STR("inactive_file ") : STR("total_inactive_file "), &n)) cache += n;
        if (find_number(stat, g.v2 ? STR("active_file ") : STR("total_active_file "), &n)) cache += n;
        used = used > cache ? used - cache : 0;
        uint64_t left = limit > used ? limit - used : 0;
        uint64_t best = m->cgroup_bytes > m->cgroup_used_bytes ? m->cgroup_bytes - m->cgroup_used_bytes : 0;
        if (m->cgroup_bytes == 0 || left < best) {
            m->cgroup_bytes = limit;
            m->cgroup_used_bytes = used;
        }
    } while (cgroup_up(&g));
    buf_free(&b);
}

/* Processor quota of the group and its ancestors, rounded up to cores. */
static void read_cpu_quota(struct machine *m, const char *sys_root, struct cgroup g)
{
    struct buf b;
    buf_init(&b, TEXT_MAX);
    do {
        uint64_t quota = 0, period = 0;
        bool have;
        if (g.v2) {
            struct str s = cgroup_read(&b, &g, sys_root, "cpu.max"); /* "QUOTA PERIOD" or "max PERIOD" */
            have = parse_number(s, &quota) && parse_number(field(s, 1), &period);
        } else {
            have = parse_number(cgroup_read(&b, &g, sys_root, "cpu.cfs_quota_us"), &quota) && /* "-1": none */
                   parse_number(cgroup_read(&b, &g, sys_root, "cpu.cfs_period_us"), &period);
        }
        if (!have || period == 0) continue;
        uint64_t cores = quota / period + (quota % period != 0);
        if (cores < 1) cores = 1;
        if (cores < (uint64_t)m->n_cores) m->n_cores = (int)cores;
    } while (cgroup_up(&g));
    buf_free(&b);
}

static int affinity_cores(void)
{
    unsigned long mask[8192 / (8 * sizeof(unsigned long))] = {0};
    int n = 0;
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) != 0) return (int)sysconf(_SC_NPROCESSORS_ONLN);
    for (size_t i = 0; i < sizeof mask / sizeof *mask; i++) n += __builtin_popcountl(mask[i]);
    return n;
}

static void read_cpu_name(struct machine *m, const char *root)
{
    struct buf b;
    buf_init(&b, TEXT_MAX * 16); /* hundreds of cores make a long file */
    struct str text = read_text(&b, root, "/proc/cpuinfo"), line, name = STR("unknown");
    while (next_line(&text, &line)) {
        size_t colon = str_find(line, STR(": "), 0);
        if (colon == (size_t)-1 ||
            !(str_starts(line, STR("model name")) || str_starts(line, STR("CPU part"))))
            continue;
        name = str_slice(line, colon + 2, line.n);
        break;
    }
    snprintf(m->cpu, sizeof m->cpu, "%.*s", STR_ARG(name));
    buf_free(&b);
}

void machine_read_at(struct machine *m, const char *root)
{
    struct buf b;
    struct cgroup g;
    uint64_t kb;
    buf_init(&b, TEXT_MAX);
    *m = (struct machine){.n_cores = affinity_cores()};
    if (m->n_cores < 1) m->n_cores = 1;
    read_cpu_name(m, root);
    struct str info = read_text(&b, root, "/proc/meminfo");
    if (find_number(info, STR("MemTotal:"), &kb)) m->memory_bytes = kb * 1024;
    if (find_number(info, STR("MemAvailable:"), &kb)) m->available_bytes = kb * 1024;
    buf_free(&b);
    if (cgroup_find(&g, root, STR("memory")))
        read_memory_limit(m, root, g);
    else if (cgroup_find(&g, root, STR("")))
        read_memory_limit(m, root, g);
    if (cgroup_find(&g, root, STR("cpu")))
        read_cpu_quota(m, root, g);
    else if (cgroup_find(&g, root, STR("")))
        read_cpu_quota(m, root, g);
}

void machine_read(struct machine *m)
{
    machine_read_at(m, "");
}

uint64_t machine_usable_memory(const struct machine *m, const char **source)
{
    uint64_t left = m->cgroup_bytes > m->cgroup_used_bytes ? m->cgroup_bytes - m->cgroup_used_bytes : 0;
    bool by_cgroup = m->cgroup_bytes && left < m->available_bytes;
    *source = by_cgroup ? "cgroup limit" : "free memory";
    return by_cgroup ? left : m->available_bytes;
}
