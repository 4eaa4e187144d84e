/* Starts of many small data sets: k-means on each one's rows, and the model that its partition gives. */

#include "kmeans.h"

typedef struct {
    const runs *runs;       /* their fields, of which a run's is written into its state */
    const double *uniforms; /* restarts × components × trials: what seeds are drawn by */
    const int32_t *white;   /* restarts: whether distances are measured on whitened rows */
    void *work;             /* parts × room bytes */
    int64_t room;
    int32_t trials, rounds, parts, ticket, areas;
} starts;

/* Arrays of one start, carved from its work area. */
typedef struct {
    double *x;      /* rows × features, about the origin */
    double *white;  /* the same, whitened */
    double *weight; /* rows */
    double *columns, *work, *centres, *sums, *cov, *mean, *spare;
} desk;

static desk desk_of(const starts *j, long rows, long stride, char *work) {
    const runs *r = j->runs;
    const long d = r->features, k = r->components;
    desk at;
    at.columns = (double *)work;
    at.work = at.columns + (d + 2) * stride;
    at.x = at.work + 4 * stride + k * (d + 2);
    at.white = at.x + d * rows;
    at.weight = at.white + d * rows;
    at.centres = at.weight + rows;
    at.sums = at.centres + k * d;
    at.cov = at.sums + k * (r->quadratics + d + 1);
    at.mean = at.cov + d * d;
    at.spare = at.mean + d;
    return at;
}

/* Rows in double, and their weights. */
static void lay_out(const starts *j, const field *f, const desk *at) {
    const int d = j->runs->features, single = j->runs->single;
    for (long i = 0; i < f->rows; i++)
        at->weight[i] = !f->weight ? 1 : single ? ((const float *)f->weight)[i] : ((const double *)f->weight)[i];
    for (int a = 0; a < d; a++)
        for (long i = 0; i < f->rows; i++)
            at->x[i * d + a] =
                single ? ((const float *)f->x)[a * f->stride + i] : ((const double *)f->x)[a * f->stride + i];
}

/* The rows made uncorrelated by their covariance; 0 where that has no factor. */
static int whitened(int d, long n, const desk *at) {
    double all = 0, log_det, *mean = at->mean;
    memset(mean, 0, d * sizeof(double));
    memset(at->cov, 0, (size_t)d * d * sizeof(double));
    for (long i = 0; i < n; i++) {
        all += at->weight[i];
        for (int a = 0; a < d; a++) mean[a] += at->weight[i] * at->x[i * d + a];
    }
    for (int a = 0; a < d; a++) mean[a] /= all;
    for (long i = 0; i < n; i++) {
        double *out = at->white + i * d;
        for (int a = 0; a < d; a++) out[a] = at->x[i * d + a] - mean[a];
        for (int a = 0; a < d; a++)
            for (int b = 0; b <= a; b++) at->cov[a * d + b] += at->weight[i] / all * out[a] * out[b];
    }
    if (!cholesky(d, at->cov, &log_det)) return 0;
    invert(d, at->cov);
    for (long i = 0; i < n; i++) {
        double *out = at->white + i * d;
        /* From the last feature on, so that each is made from others that are still as they were. */
        for (int a = d - 1; a >= 0; a--) {
            double sum = 0;
            for (int b = 0; b <= a; b++) sum += at->cov[a * d + b] * out[b];
            out[a] = sum;
        }
    }
    return 1;
}

/* The model of the partition `labels`: one M-step; clusters of few rows are pulled to the pooled covariance by D + 2
 * rows' worth of it. 0 where a cluster has no rows, or matrices are not calm. */
static int partitioned(const starts *j, const shape *s, const field *f, const int64_t *labels, const desk *at,
                       double *model) {
    const runs *r = j->runs;
    const int d = s->d, k = s->k, own = r->shared ? 0 : r->quadratics, count = own + d + 1;
    const long n = f->rows;
    memset(at->sums, 0, (size_t)k * count * sizeof(double));
    for (long i = 0; i < n; i++) {
        double *t = at->sums + labels[i] * count, w = at->weight[i], norm = 0;
        const double *x = at->x + i * d;
        int p = 0;
        for (int a = 0; a < d; a++) {
            const double xa = x[a];
            t[own + a] += w * xa;
            norm += xa * xa;
            if (!own) continue;
            if (r->form == MATRIX)
                for (int b = 0; b <= a; b++) t[p++] += w * xa * x[b];
            else if (r->form == COLUMNS)
                t[p++] += w * xa * xa;
        }
        if (own && r->form == ONE) t[0] += w * norm;
        t[count - 1] += w;
    }
    if (!averaged(r, s, f, at->sums, model)) return 0;
    if (r->shared) return 1;
    double *second = seconds(s, model), *pooled = at->cov, all = 0;
    memset(pooled, 0, s->each * sizeof(double));
    for (int c = 0; c < k; c++) all += at->sums[(c + 1) * count - 1];
    for (int c = 0; c < k; c++)
        for (int e = 0; e < s->each; e++) pooled[e] += exp(log_weights(model)[c]) * second[c * s->each + e];
    const double fewest = 2 * d + 2, pull = d + 2;
    for (int c = 0; c < k; c++) {
        const double rows = exp(log_weights(model)[c]) * all;
        if (rows >= fewest) continue;
        for (int e = 0; e < s->each; e++)
            second[c * s->each + e] = (rows * second[c * s->each + e] + pull * pooled[e]) / (rows + pull);
    }
    for (int i = 0; i < r->volumes; i++) model[s->kept + i] = 1;
    for (int i = s->kept + r->volumes; i < s->length; i++) model[i] = (i - s->kept - r->volumes) % (d + 1) == 0;
    return composed(r, s, f, model, 0, at->spare);
}

static void begin_some(void *data) {
    starts *j = data;
    const runs *r = j->runs;
    const shape s = shape_of(r);
    char *work = (char *)j->work + __atomic_fetch_add(&j->areas, 1, __ATOMIC_RELAXED) * j->room;
    for (int i; (i = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < r->restarts;) {
        const field *f = r->fields + r->which[i];
        double *after = r->state + i * r->size + SCALARS + 2 * s.length;
        const long stride = (f->rows + STEP - 1) / STEP * STEP;
        const desk at = desk_of(j, f->rows, stride, work);
        lay_out(j, f, &at);
        const int white = j->white[i] && whitened(s.d, f->rows, &at);
        const table t = {white ? at.white : at.x, at.columns, f->rows, stride, s.d};
        const areas w = areas_of(&t, s.k, at.work);
        turned(&t, at.weight);
        seeded(&t, s.k, j->trials, j->uniforms + (long)i * s.k * j->trials, at.centres, at.work);
        lloyd(&t, s.k, j->rounds, &w, at.centres);
        nearest(&t, s.k, at.centres, &w);
        if (!partitioned(j, &s, f, w.labels, &at, after)) r->ended[i] = HANDED_BACK;
    }
}

/* The starts of all runs. */
void LOCAL(begin)(starts *j) {
    j->ticket = j->areas = 0;
    LOCAL(spread)(begin_some, j, j->parts);
}
