/* The picture of a training run: see train_show.h. */
#include "train_show.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include "runtime.h"
#include "term/plot.h"
#include "term/width.h"
#include "train/trainer.h"

/* LABEL columns for the values at the edges of the plot. A terminal of fewer than MIN_ROWS has no plot. */
enum { PLOT_ROWS = 7, LABEL = 7, MIN_ROWS = 12, MAX_COLS = 120 };
static const double seconds_on_terminal = 0.5, seconds_elsewhere = 10;

void train_show_init(struct train_show *s)
{
    *s = (struct train_show){.stride = 1};
    term_init(&s->term, STDIN_FILENO, STDERR_FILENO);
}

void train_show_loss(struct train_show *s, double loss)
{
    if (!isfinite(loss)) return;
    s->smooth = s->smooth > 0 ? s->smooth + 0.1 * (loss - s->smooth) : loss;
    s->sum += loss;
    if (++s->n_sum < s->stride) return;
    s->points[s->n_points++] = s->sum / s->stride;
    s->sum = s->n_sum = 0;
    if (s->n_points < SHOW_POINTS) return;
    for (int i = 0; i < SHOW_POINTS / 2; i++) s->points[i] = (s->points[2 * i] + s->points[2 * i + 1]) / 2;
    s->n_points = SHOW_POINTS / 2;
    s->stride *= 2;
}

static void append_left(struct buf *out, double seconds)
{
    int minutes = (int)(seconds / 60);
    if (seconds < 90)
        buf_printf(out, "%.0f s left", seconds);
    else if (minutes < 90)
        buf_printf(out, "%d min left", minutes);
    else
        buf_printf(out, "%d:%02d h left", minutes / 60, minutes % 60);
}

void train_show_line(const struct train_show *s, const struct trainer *t, const struct step_report *r,
                     struct buf *out)
{
    const struct recipe *recipe = &t->recipe;
    double rows = 0;
    for (int i = r->step; i < recipe->steps; i++) rows += recipe_rows(recipe, i);
    double tokens_left = rows * (double)r->tokens / recipe_rows(recipe, r->step - 1);
    buf_printf(out, "step %d/%d  loss %.3f  %.0f tok/s  %.0f%% of peak  norm %.2f  load %.2f  ", r->step,
               recipe->steps, s->smooth, s->tokens_per_second,
               100 * s->tokens_per_second * t->flops_per_token / 1e9 / s->peak_gflops, r->gradient_norm,
               r->load);
    append_left(out, tokens_left / s->tokens_per_second);
}

/* Back to the first column of the first line. */
static void go_up(const struct train_show *s, struct buf *out)
{
    if (s->n_lines > 1) buf_printf(out, "\033[%dA", s->n_lines - 1);
    buf_putc(out, '\r');
}

static void draw_curve(const struct train_show *s, int cols, struct buf *out)
{
    struct plot p = {.y = s->points,
                     .n = s->n_points,
                     .low = HUGE_VAL,
                     .high = -HUGE_VAL,
                     .cols = cols - LABEL,
                     .rows = PLOT_ROWS};
    for (int i = 0; i < s->n_points; i++) {
        p.low = fmin(p.low, s->points[i]);
        p.high = fmax(p.high, s->points[i]);
    }
    if (!(p.high > p.low)) p.high = p.low + 1;
    for (int row = 0; row < PLOT_ROWS; row++) {
        if (row == 0 || row == PLOT_ROWS - 1)
            buf_printf(out, "%*.3f ", LABEL - 1, fmin(row == 0 ? p.high : p.low, 99.999));
        else
            buf_printf(out, "%*s", LABEL, "");
        plot_row(out, &p, row);
        buf_puts(out, "\033[K\r\n");
    }
}

void train_show_frame(struct train_show *s, struct str line, struct buf *out)
{
    int cols = s->term.cols - 1 < MAX_COLS ? s->term.cols - 1 : MAX_COLS;
    bool plot = s->term.rows >= MIN_ROWS && cols > 2 * LABEL && s->n_points > 1;
    term_frame_begin(out);
    go_up(s, out);
    if (plot) draw_curve(s, cols, out);
    buf_str(out, str_slice(line, 0, width_fit(line, s->term.cols - 1)));
    buf_puts(out, "\033[K");
    term_frame_end(out);
    s->n_lines = plot ? PLOT_ROWS + 1 : 1;
}

void train_show_step(struct train_show *s, const struct trainer *t, const struct step_report *r, bool last)
{
    double now = clock_s(), speed = (double)r->tokens / r->seconds;
    s->tokens_per_second =
        s->tokens_per_second > 0 ? s->tokens_per_second + 0.2 * (speed - s->tokens_per_second) : speed;
    if (!last && now - s->shown < (s->term.is_terminal ? seconds_on_terminal : seconds_elsewhere)) return;
    struct buf line, out;
    buf_init(&line, 1 << 10);
    buf_init(&out, 1 << 16);
    train_show_line(s, t, r, &line);
    if (s->term.is_terminal) {
        if (term_resized(&s->term)) s->n_lines = 0; /* nobody knows where the old one stands */
        train_show_frame(s, buf_view(&line), &out);
        if (!out.failed) term_write(&s->term, buf_view(&out), NULL);
    } else
        fprintf(stderr, "%s\n", buf_cstr(&line));
    if (last) train_show_leave(s);
    s->shown = now;
    buf_free(&line);
    buf_free(&out);
}

void train_show_say(struct train_show *s, const char *fmt, ...)
{
    struct buf out;
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_init(&out, 1 << 12);
    if (s->n_lines > 0) {
        go_up(s, &out);
        buf_puts(&out, "\033[J");
    }
    s->n_lines = 0;
    s->shown = 0; /* the picture comes back with the next step */
    fprintf(stderr, "%s%s\n", buf_cstr(&out), text);
    buf_free(&out);
}

void train_show_leave(struct train_show *s)
{
    if (s->n_lines > 0) fputc('\n', stderr);
    s->n_lines = 0;
}
