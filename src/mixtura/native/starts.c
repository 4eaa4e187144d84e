/* Starts on few rows: greedy k-means++, Lloyd's rounds, the nearest centre of each row, and agglomeration by a Gaussian
 * criterion. Each restart is one thread's work, from its start to its end, so that it does not depend on the others. */

#include <math.h>
#include <string.h>

#include "job.h"
#include "kmeans.h"

#define TOGETHER 8           /* pivots multiplied before their logarithm is taken */
#define TINY 1e-300

/* ---- k-means */

typedef struct {
    const double *x;      /* rows × features */
    const double *weight; /* rows */
    const double *u;      /* restarts × components × trials */
    double *centres;      /* restarts × components × features */
    double *least;        /* restarts × rows: |x − c|² − |x|² of the nearest centre */
    int64_t *labels;      /* restarts × rows: which it is */
    double *columns;      /* features + 2, `stride` apart */
    void *work;           /* parts × room bytes */
    int64_t rows, stride, room;
    int32_t features, components, trials, rounds, restarts, parts, ticket, areas;
} means;

static table table_of(const means *j) { return (table){j->x, j->columns, j->rows, j->stride, j->features}; }

static double *centres_of(const means *j, int r) { return j->centres + (int64_t)r * j->components * j->features; }

static void one_plusplus(const means *j, int r, char *work) {
    const table t = table_of(j);
    const double *u = j->u + (int64_t)r * j->components * j->trials;
    seeded(&t, j->components, j->trials, u, centres_of(j, r), (double *)work);
}

static void one_lloyd(const means *j, int r, char *work) {
    const table t = table_of(j);
    const areas w = areas_of(&t, j->components, (double *)work);
    lloyd(&t, j->components, j->rounds, &w, centres_of(j, r));
}

static void one_nearest(const means *j, int r, char *work) {
    const table t = table_of(j);
    const areas w = areas_of(&t, j->components, (double *)work);
    nearest(&t, j->components, centres_of(j, r), &w);
    memcpy(j->least + r * j->rows, w.least, j->rows * sizeof(double));
    memcpy(j->labels + r * j->rows, w.labels, j->rows * sizeof(int64_t));
}

/* The restarts from the ticket on, each by `one`. */
#define EACH(name, type, one)                                                                       \
    static void name(void *data) {                                                                  \
        type *j = data;                                                                             \
        char *work = (char *)j->work + __atomic_fetch_add(&j->areas, 1, __ATOMIC_RELAXED) * j->room; \
        for (int r; (r = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < j->restarts;) one(j, r, work); \
    }

EACH(each_plusplus, means, one_plusplus)
EACH(each_lloyd, means, one_lloyd)
EACH(each_nearest, means, one_nearest)

static void all(means *j, void (*each)(void *)) {
    const table t = table_of(j);
    turned(&t, j->weight);
    j->areas = 0;
    LOCAL(spread)(each, j, j->parts);
}

void LOCAL(plusplus)(means *j) { all(j, each_plusplus); }
void LOCAL(lloyd)(means *j) { all(j, each_lloyd); }
void LOCAL(nearest)(means *j) { all(j, each_nearest); }

/* ---- agglomeration */

typedef struct {
    const double *n;       /* restarts × groups */
    const double *mean;    /* restarts × groups × features */
    const double *scatter; /* restarts × groups × features × features */
    int64_t *found;        /* restarts × groups: which of the components each group ends in */
    void *work;            /* parts × room bytes */
    double prior;
    int64_t room;
    int32_t groups, components, features, restarts, parts, ticket, areas;
} merging;

/* The groups of a restart, `wide` apart, with the cost of joining i and j > i, and the cheapest j of each i. */
typedef struct {
    int m, d, wide;
    double *n, *value, *mean, *scatter, *row, *cost, *low;
    int *near, *owner;
    vec *gap, *matrix, *inverse;
    double prior;
} pool;

static pool pool_of(const merging *j, char *work) {
    pool p = {.m = j->groups, .d = j->features, .prior = j->prior};
    p.wide = (p.m + LANES - 1) / LANES * LANES;
    p.matrix = (vec *)work;
    p.gap = p.matrix + p.d * (p.d + 1) / 2;
    p.inverse = p.gap + p.d;
    p.n = (double *)(p.inverse + p.d);
    p.value = p.n + p.wide;
    p.row = p.value + p.wide;
    p.low = p.row + p.wide;
    p.mean = p.low + p.wide;
    p.scatter = p.mean + (int64_t)p.d * p.wide;
    p.cost = p.scatter + (int64_t)p.d * (p.d + 1) / 2 * p.wide;
    p.near = (int *)(p.cost + (int64_t)p.m * p.wide);
    p.owner = p.near + p.wide;
    return p;
}

/* log|matrix / rows| of LANES symmetric matrices, whose factors replace them; NaN where there is none. */
static vec log_det(const pool *p, vec rows) {
    const vec share = 1 / rows;
    vec product = {1, 1, 1, 1}, sum = {0};
    ivec regular = {-1, -1, -1, -1};
    for (int a = 0; a < p->d; a++) {
        vec *row = p->matrix + a * (a + 1) / 2, pivot = row[a];
        for (int b = 0; b < a; b++) {
            const vec *other = p->matrix + b * (b + 1) / 2;
            for (int l = 0; l < b; l++) row[b] -= row[l] * other[l];
        }
        for (int b = 0; b < a; b++) {
            const vec whole = row[b];
            row[b] *= p->inverse[b];
            pivot -= whole * row[b];
        }
        p->inverse[a] = 1 / pivot;
        regular &= pivot > 0;
        product *= pivot * share;
        if (a % TOGETHER == TOGETHER - 1 || a == p->d - 1) {
            for (int l = 0; l < LANES; l++) sum[l] += log(product[l]);
            product = (vec){1, 1, 1, 1};
        }
    }
    return chosen(regular, sum, (vec){NAN, NAN, NAN, NAN});
}

/* n log|S| of group `at` joined with groups j … j + LANES − 1; joined with none where `alone`. */
static vec joined(const pool *p, int at, int j, int alone) {
    const int d = p->d;
    const vec theirs = *(const vec *)(p->n + j) * !alone, both = p->n[at] + theirs, rows = both + (d + 2);
    const vec some = chosen(both > TINY, both, (vec){TINY, TINY, TINY, TINY}), between = p->n[at] * theirs / some;
    for (int a = 0; a < d; a++) p->gap[a] = *(const vec *)(p->mean + a * p->wide + j) - p->mean[a * p->wide + at];
    for (int a = 0, i = 0; a < d; a++)
        for (int b = 0; b <= a; b++, i++) {
            const double *s = p->scatter + (int64_t)i * p->wide;
            p->matrix[i] = s[at] + *(const vec *)(s + j) * !alone + between * p->gap[a] * p->gap[b];
            if (a == b) p->matrix[i] += (d + 2) * p->prior;
        }
    return both * log_det(p, rows);
}

/* What joining `at` with each of the groups before `to` adds to the criterion; infinite where that is no choice. */
static void price(const pool *p, int at, int to) {
    for (int j = 0; j < to; j += LANES) {
        const vec rise = joined(p, at, j, 0) - *(const vec *)(p->value + j) - p->value[at];
        for (int l = 0; l < LANES && j + l < to; l++) {
            const int choice = j + l != at && p->n[j + l] > 0 && p->n[at] > 0 && isfinite(rise[l]);
            p->row[j + l] = choice ? rise[l] : INFINITY;
        }
    }
}

/* The cheapest partner after i. */
static void look(const pool *p, int i) {
    const double *row = p->cost + (int64_t)i * p->wide;
    p->low[i] = INFINITY, p->near[i] = i;
    for (int j = i + 1; j < p->m; j++)
        if (row[j] < p->low[i]) p->low[i] = row[j], p->near[i] = j;
}

/* Joins `gone` to `keep`, which comes before it. */
static void merge(const pool *p, int keep, int gone) {
    const double both = p->n[keep] + p->n[gone], between = p->n[keep] * p->n[gone] / both;
    const double share = p->n[gone] / both;
    for (int a = 0, i = 0; a < p->d; a++)
        for (int b = 0; b <= a; b++, i++) {
            const double *ma = p->mean + a * p->wide, *mb = p->mean + b * p->wide;
            double *s = p->scatter + (int64_t)i * p->wide;
            s[keep] += s[gone] + between * (ma[gone] - ma[keep]) * (mb[gone] - mb[keep]);
        }
    for (int a = 0; a < p->d; a++) {
        double *mean = p->mean + a * p->wide;
        mean[keep] += share * (mean[gone] - mean[keep]);
    }
    p->n[keep] = both, p->n[gone] = 0;
    for (int i = 0; i < p->m; i++)
        if (p->owner[i] == gone) p->owner[i] = keep;
    p->value[keep] = joined(p, keep, 0, 1)[0];
    price(p, keep, p->m);
    p->low[gone] = INFINITY;
    for (int i = 0; i < gone; i++) p->cost[(int64_t)i * p->wide + gone] = INFINITY;
    for (int i = 0; i < keep; i++) p->cost[(int64_t)i * p->wide + keep] = p->row[i];
    for (int i = keep + 1; i < p->m; i++) p->cost[(int64_t)keep * p->wide + i] = p->row[i];
    /* Only rows whose cheapest partner is gone, or has changed, are looked through again. */
    for (int i = 0; i < gone; i++) {
        if (!(p->n[i] > 0)) continue;
        if (i == keep || p->near[i] == gone || p->near[i] == keep)
            look(p, i);
        else if (i < keep && (p->row[i] < p->low[i] || (p->row[i] == p->low[i] && keep < p->near[i])))
            p->low[i] = p->row[i], p->near[i] = keep;
    }
}

/* Groups before any are joined. */
static void gathered(const merging *j, const pool *p, int r) {
    const int m = p->m, d = p->d;
    const double *n = j->n + (int64_t)r * m, *mean = j->mean + (int64_t)r * m * d;
    const double *scatter = j->scatter + (int64_t)r * m * d * d;
    for (int g = 0; g < p->wide; g++) {
        const int from = g < m ? g : m - 1;
        p->n[g] = g < m ? n[g] : 0;
        for (int a = 0, i = 0; a < d; a++) {
            p->mean[a * p->wide + g] = mean[from * d + a];
            for (int b = 0; b <= a; b++, i++)
                p->scatter[(int64_t)i * p->wide + g] = scatter[((int64_t)from * d + a) * d + b];
        }
    }
    for (int g = 0; g < m; g++) {
        p->owner[g] = g;
        p->value[g] = joined(p, g, 0, 1)[0];
    }
    for (int g = m; g < p->wide; g++) p->value[g] = 0;
    for (int g = 0; g < m; g++) {
        price(p, g, g);
        for (int i = 0; i < g; i++) p->cost[(int64_t)i * p->wide + g] = p->row[i];
    }
    for (int g = 0; g < m; g++) look(p, g);
}

static void agglomerate(const merging *j, int r, char *work) {
    const pool p = pool_of(j, work);
    gathered(j, &p, r);
    int left = 0;
    for (int g = 0; g < p.m; g++) left += p.n[g] > 0;
    for (; left > j->components; left--) {
        int keep = 0;
        for (int g = 1; g < p.m; g++)
            if (p.low[g] < p.low[keep]) keep = g;
        if (!isfinite(p.low[keep])) break;
        merge(&p, keep, p.near[keep]);
    }
    int64_t *found = j->found + (int64_t)r * p.m;
    int rank = -1;
    for (int g = 0; g < p.m; g++) p.near[g] = rank += p.n[g] > 0;
    for (int g = 0; g < p.m; g++) found[g] = p.near[p.owner[g]];
}

EACH(each_agglomerate, merging, agglomerate)

void LOCAL(agglomerate)(merging *j) {
    j->areas = 0;
    LOCAL(spread)(each_agglomerate, j, j->parts);
}

/* Bytes of the structures that Python fills, in the order of layout.py. */
int LOCAL(layout_starts)(int which) { return (int)(which == 0 ? sizeof(means) : sizeof(merging)); }
