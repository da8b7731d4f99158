"""What else ran on this machine: processor time from /proc/stat, so that figures from a busy machine are seen for what they are."""
import os
import time

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()


def read_stat():
    """Busy and stolen ticks of all processors."""
    with open("/proc/stat", encoding="ascii") as f:
        v = [int(x) for x in f.readline().split()[1:]]
    return sum(v[:3]) + v[5] + v[6], v[7]


def wait_idle(limit_s=240, share=0.04):
    """Until one second passes with the machine less than `share` busy; False when that never came."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        busy, steal = read_stat()
        time.sleep(1)
        later, later_steal = read_stat()
        if later - busy + later_steal - steal < share * TICKS * CORES:
            return True
    return False


class Noise:
    """Shares of the machine that went to others between two moments. own: a function that gives the processor seconds of the
    work itself."""

    def __init__(self, own):
        self.own = own
        self.busy, self.steal = read_stat()
        self.began, self.own_began = time.monotonic(), own()

    def shares(self):
        busy, steal = read_stat()
        capacity = max((time.monotonic() - self.began) * CORES, 1e-9)
        others = (busy - self.busy) / TICKS - (self.own() - self.own_began)
        return max(0.0, others / capacity), (steal - self.steal) / TICKS / capacity
