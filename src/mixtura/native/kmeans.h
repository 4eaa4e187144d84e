/* k-means on a table of rows: greedy k-means++ seeds and Lloyd's rounds, one restart at a time. */

#include <math.h>
#include <string.h>

#define LANES 4
#define TILE 4               /* vectors of rows whose distances to one centre are held in registers */
#define STEP (TILE * LANES)

typedef double vec __attribute__((vector_size(32)));
typedef int64_t ivec __attribute__((vector_size(32)));

static inline vec chosen(ivec which, vec yes, vec no) { return (vec)((which & (ivec)yes) | (~which & (ivec)no)); }

typedef struct {
    const double *x; /* rows × features */
    double *columns; /* features + 2, `stride` apart: x, weight, |x|²; the last row again up to `stride`, without weight */
    int64_t rows, stride;
    int features;
} table;

static double *weights(const table *t) { return t->columns + t->features * t->stride; }
static double *lengths(const table *t) { return t->columns + (t->features + 1) * t->stride; }

/* The rows as columns, so that loops run over rows. */
static void turned(const table *t, const double *each) {
    const int d = t->features;
    double *weight = weights(t), *length = lengths(t);
    memset(length, 0, t->stride * sizeof(double));
    for (int64_t n = 0; n < t->stride; n++) {
        const double *row = t->x + (n < t->rows ? n : t->rows - 1) * d;
        for (int a = 0; a < d; a++) t->columns[a * t->stride + n] = row[a];
        weight[n] = n < t->rows ? each[n] : 0;
        for (int a = 0; a < d; a++) length[n] += row[a] * row[a];
    }
}

/* Squared distances to row `at`, none above `gap`, into `closer`; returns their weighted sum. */
static double covered(const table *t, int64_t at, const double *gap, double *closer) {
    const double *row = t->x + at * t->features;
    vec sum[TILE] = {0};
    for (int64_t n = 0; n < t->stride; n += STEP) {
        vec square[TILE] = {0};
        for (int a = 0; a < t->features; a++) {
            const vec *x = (const vec *)(t->columns + a * t->stride + n);
            for (int i = 0; i < TILE; i++) {
                const vec off = x[i] - row[a];
                square[i] += off * off;
            }
        }
        const vec *before = (const vec *)(gap + n), *weight = (const vec *)(weights(t) + n);
        vec *out = (vec *)(closer + n);
        for (int i = 0; i < TILE; i++) {
            out[i] = chosen(square[i] < before[i], square[i], before[i]);
            sum[i] += out[i] * weight[i];
        }
    }
    const vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return (all[0] + all[1]) + (all[2] + all[3]);
}

/* The first place whose mass is at least `least`. */
static int64_t drawn(const double *mass, int64_t rows, double least) {
    int64_t from = 0, to = rows;
    while (from < to) {
        const int64_t middle = (from + to) / 2;
        if (mass[middle] < least)
            from = middle + 1;
        else
            to = middle;
    }
    return from < rows ? from : rows - 1;
}

/* Greedy k-means++ (Arthur & Vassilvitskii 2007): of `trials` rows drawn by squared distance the best, for each centre.
 * Works in 4 · stride doubles. */
static void seeded(const table *t, int components, int trials, const double *u, double *centres, double *work) {
    const int d = t->features;
    double *mass = work, *gap = mass + t->stride, *closer = gap + t->stride, *best = closer + t->stride;
    for (int64_t n = 0; n < t->stride; n++) gap[n] = 1;
    for (int k = 0; k < components; k++, u += trials) {
        double sum = 0, least = INFINITY;
        for (int64_t n = 0; n < t->rows; n++) mass[n] = sum += gap[n] * weights(t)[n];
        if (!k)
            for (int64_t n = 0; n < t->stride; n++) gap[n] = INFINITY;
        int64_t kept = 0;
        for (int i = 0; i < (k ? trials : 1); i++) {
            const int64_t at = drawn(mass, t->rows, u[i] * sum);
            const double cost = covered(t, at, gap, closer);
            if (i && !(cost < least)) continue;
            double *other = best;
            best = closer, closer = other;
            least = cost, kept = at;
        }
        double *other = gap;
        gap = best, best = other;
        memcpy(centres + k * d, t->x + kept * d, d * sizeof(double));
    }
}

/* Where the working arrays of Lloyd's rounds lie: 2 · stride + components · (features + 2) doubles. */
typedef struct {
    double *least;   /* |x − c|² − |x|² of the nearest centre */
    int64_t *labels; /* which it is */
    double *square, *count, *sums;
} areas;

static areas areas_of(const table *t, int components, double *work) {
    areas w = {.least = work};
    w.labels = (int64_t *)(w.least + t->stride);
    w.square = (double *)(w.labels + t->stride);
    w.count = w.square + components;
    w.sums = w.count + components;
    return w;
}

/* The nearest centre of each row; returns whether one has changed. */
static int nearest(const table *t, int components, const double *centres, const areas *w) {
    const int d = t->features;
    for (int k = 0; k < components; k++) {
        w->square[k] = 0;
        for (int a = 0; a < d; a++) w->square[k] += centres[k * d + a] * centres[k * d + a];
    }
    ivec changed = {0};
    for (int64_t n = 0; n < t->stride; n += STEP) {
        vec low[TILE];
        ivec at[TILE] = {0};
        for (int i = 0; i < TILE; i++) low[i] = (vec){INFINITY, INFINITY, INFINITY, INFINITY};
        for (int k = 0; k < components; k++) {
            vec product[TILE] = {0};
            const double *centre = centres + (int64_t)k * d;
            for (int a = 0; a < d; a++) {
                const vec *x = (const vec *)(t->columns + a * t->stride + n);
                for (int i = 0; i < TILE; i++) product[i] += x[i] * centre[a];
            }
            for (int i = 0; i < TILE; i++) {
                const vec here = w->square[k] - 2 * product[i];
                const ivec closer = here < low[i];
                low[i] = chosen(closer, here, low[i]);
                at[i] = (closer & k) | (~closer & at[i]);
            }
        }
        vec *out = (vec *)(w->least + n);
        ivec *label = (ivec *)(w->labels + n);
        for (int i = 0; i < TILE; i++) {
            changed |= at[i] != label[i];
            out[i] = low[i], label[i] = at[i];
        }
    }
    return (changed[0] | changed[1] | changed[2] | changed[3]) != 0;
}

/* The means of the rows of each centre; those without rows move to the rows that are farthest from theirs. */
static void moved(const table *t, int components, const areas *w, double *centres) {
    const int d = t->features;
    memset(w->count, 0, components * sizeof(double));
    memset(w->sums, 0, (size_t)components * d * sizeof(double));
    for (int64_t n = 0; n < t->rows; n++) {
        const double weight = weights(t)[n], *restrict row = t->x + n * d;
        double *restrict sum = w->sums + w->labels[n] * d;
        w->count[w->labels[n]] += weight;
        for (int a = 0; a < d; a++) sum[a] += weight * row[a];
    }
    int empty = 0;
    for (int k = 0; k < components; k++) {
        if (w->count[k] > 0)
            for (int a = 0; a < d; a++) centres[k * d + a] = w->sums[k * d + a] / w->count[k];
        else
            empty = 1;
    }
    for (int k = 0; empty && k < components; k++) {
        if (w->count[k] > 0) continue;
        int64_t far = 0;
        for (int64_t n = 1; n < t->rows; n++)
            if (w->least[n] + lengths(t)[n] > w->least[far] + lengths(t)[far]) far = n;
        memcpy(centres + k * d, t->x + far * d, d * sizeof(double));
        w->least[far] = -lengths(t)[far];
    }
}

/* Lloyd's rounds (1982). */
static void lloyd(const table *t, int components, int rounds, const areas *w, double *centres) {
    memset(w->labels, -1, t->stride * sizeof(int64_t));
    for (int round = 0; round < rounds && nearest(t, components, centres, w); round++)
        moved(t, components, w, centres);
}
