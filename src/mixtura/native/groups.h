/* Starts of many small data sets: k-means on each one's rows, and the model that its partition gives. */

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
    double *x, *weight, *gap, *best, *trial, *centres, *count, *sums, *cov, *one;
    int32_t *label; /* and as many behind them */
} desk;

static desk desk_of(const starts *j, long rows, char *work) {
    const runs *r = j->runs;
    const long d = r->features, k = r->components;
    desk at;
    at.x = (double *)work;
    at.weight = at.x + d * rows;
    at.gap = at.weight + rows;
    at.best = at.gap + rows;
    at.trial = at.best + rows;
    at.centres = at.trial + rows;
    at.count = at.centres + k * d;
    at.sums = at.count + k;
    at.cov = at.sums + k * (r->quadratics + d + 1);
    at.one = at.cov + 2 * d * d;
    at.label = (int32_t *)(at.one + d);
    return at;
}

/* Rows in double, about the origin, and their weights; whitened by the covariance of all rows where that is asked and
 * possible. */
static void lay_out(const starts *j, const field *f, int white, desk *at) {
    const int d = j->runs->features, single = j->runs->single;
    const long n = f->rows;
    double all = 0;
    for (long i = 0; i < n; i++) {
        at->weight[i] = !f->weight ? 1 : single ? ((const float *)f->weight)[i] : ((const double *)f->weight)[i];
        all += at->weight[i];
    }
    for (int a = 0; a < d; a++)
        for (long i = 0; i < n; i++)
            at->x[a * n + i] =
                single ? ((const float *)f->x)[a * f->stride + i] : ((const double *)f->x)[a * f->stride + i];
    if (!white) return;
    double *mean = at->centres, log_det;
    for (int a = 0; a < d; a++) {
        mean[a] = 0;
        for (long i = 0; i < n; i++) mean[a] += at->weight[i] * at->x[a * n + i] / all;
    }
    for (int a = 0; a < d; a++)
        for (int b = 0; b <= a; b++) {
            double sum = 0;
            for (long i = 0; i < n; i++)
                sum += at->weight[i] * (at->x[a * n + i] - mean[a]) * (at->x[b * n + i] - mean[b]);
            at->cov[a * d + b] = sum / all;
        }
    if (!cholesky(d, at->cov, &log_det)) return;
    invert(d, at->cov);
    /* From the last feature on, so that each is made from others that are still as they were. */
    for (int a = d - 1; a >= 0; a--)
        for (long i = 0; i < n; i++) {
            double sum = 0;
            for (int b = 0; b <= a; b++) sum += at->cov[a * d + b] * (at->x[b * n + i] - mean[b]);
            at->x[a * n + i] = sum;
        }
}

/* Squared distances of all rows to a centre, the smaller of them and what stands in `gap`, into `out`. */
static double closer(int d, long n, const double *x, const double *weight, const double *centre, const double *gap,
                     double *out) {
    double sum = 0;
    for (long i = 0; i < n; i++) out[i] = 0;
    for (int a = 0; a < d; a++)
        for (long i = 0; i < n; i++) out[i] += (x[a * n + i] - centre[a]) * (x[a * n + i] - centre[a]);
    for (long i = 0; i < n; i++) {
        out[i] = out[i] < gap[i] ? out[i] : gap[i];
        sum += weight[i] * out[i];
    }
    return sum;
}

/* The row at which the running sum of weight · gap reaches `mass`. */
static long row_at(long n, const double *weight, const double *gap, double mass) {
    double sum = 0;
    for (long i = 0; i < n; i++) {
        sum += weight[i] * gap[i];
        if (sum > mass) return i;
    }
    return n - 1;
}

/* Greedy k-means++ (Arthur & Vassilvitskii 2007): of the rows drawn by squared distance, the best. */
static void seed(const starts *j, long n, const double *u, desk *at, double *trial) {
    const int d = j->runs->features, k = j->runs->components;
    double left = 0;
    for (long i = 0; i < n; i++) at->gap[i] = 1, left += at->weight[i];
    for (int c = 0; c < k; c++) {
        double least = INFINITY, *centre = at->one;
        for (int t = 0; t < (c ? j->trials : 1); t++) {
            const long row = row_at(n, at->weight, at->gap, u[c * j->trials + t] * left);
            for (int a = 0; a < d; a++) centre[a] = at->x[a * n + row];
            if (c == 0)
                for (long i = 0; i < n; i++) at->gap[i] = INFINITY;
            const double sum = closer(d, n, at->x, at->weight, centre, at->gap, trial);
            if (sum < least) {
                least = sum;
                memcpy(at->best, trial, n * sizeof(double));
                memcpy(at->centres + c * d, centre, d * sizeof(double));
            }
        }
        memcpy(at->gap, at->best, n * sizeof(double));
        left = least;
    }
}

/* The nearest centre of each row into `label`, its squared distance into `gap`; returns whether a label changed. */
static int nearest(int d, int k, long n, desk *at) {
    int32_t *before = at->label + n;
    memcpy(before, at->label, n * sizeof(int32_t));
    for (int c = 0; c < k; c++) {
        const double *centre = at->centres + c * d;
        for (long i = 0; i < n; i++) at->best[i] = 0;
        for (int a = 0; a < d; a++)
            for (long i = 0; i < n; i++)
                at->best[i] += (at->x[a * n + i] - centre[a]) * (at->x[a * n + i] - centre[a]);
        for (long i = 0; i < n; i++) {
            const int better = c == 0 || at->best[i] < at->gap[i];
            at->label[i] = better ? c : at->label[i];
            at->gap[i] = better ? at->best[i] : at->gap[i];
        }
    }
    return memcmp(before, at->label, n * sizeof(int32_t)) != 0;
}

/* Lloyd's rounds (1982); a centre that loses its rows moves to the farthest row. */
static void lloyd(const starts *j, long n, desk *at) {
    const int d = j->runs->features, k = j->runs->components;
    for (long i = 0; i < n; i++) at->label[i] = -1;
    for (int round = 0; round < j->rounds && nearest(d, k, n, at); round++) {
        memset(at->count, 0, k * sizeof(double));
        memset(at->centres, 0, (size_t)k * d * sizeof(double));
        for (long i = 0; i < n; i++) {
            at->count[at->label[i]] += at->weight[i];
            for (int a = 0; a < d; a++) at->centres[at->label[i] * d + a] += at->weight[i] * at->x[a * n + i];
        }
        for (int c = 0; c < k; c++) {
            if (at->count[c] > 0) {
                for (int a = 0; a < d; a++) at->centres[c * d + a] /= at->count[c];
                continue;
            }
            long far = 0;
            for (long i = 1; i < n; i++)
                if (at->gap[i] > at->gap[far]) far = i;
            for (int a = 0; a < d; a++) at->centres[c * d + a] = at->x[a * n + far];
            at->gap[far] = -1;
        }
    }
    nearest(d, k, n, at);
}

/* The model of the partition `label`: one M-step; clusters of few rows are pulled to the pooled covariance by D + 2
 * rows' worth of it. 0 where a cluster has no rows. */
static int partitioned(const starts *j, const shape *s, const field *f, int white, desk *at, double *model) {
    const runs *r = j->runs;
    const int d = s->d, k = s->k, own = r->shared ? 0 : r->quadratics, count = own + d + 1;
    const long n = f->rows;
    if (white) lay_out(j, f, 0, at); /* the rows as they are */
    memset(at->sums, 0, (size_t)k * count * sizeof(double));
    for (long i = 0; i < n; i++) {
        double *t = at->sums + at->label[i] * count, w = at->weight[i], norm = 0;
        int p = 0;
        for (int a = 0; a < d; a++) {
            const double xa = at->x[a * n + i];
            t[own + a] += w * xa;
            norm += xa * xa;
            if (!own) continue;
            if (r->form == MATRIX)
                for (int b = 0; b <= a; b++) t[p++] += w * xa * at->x[b * n + i];
            else if (r->form == COLUMNS)
                t[p++] += w * xa * xa;
        }
        if (own && r->form == ONE) t[0] += w * norm;
        t[count - 1] += w;
    }
    if (!maximise(r, s, f, at->sums, model)) return 0;
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
    return 1;
}

static void begin_some(void *data) {
    starts *j = data;
    const runs *r = j->runs;
    const shape s = shape_of(r);
    char *work = (char *)j->work + __atomic_fetch_add(&j->areas, 1, __ATOMIC_RELAXED) * j->room;
    for (int i; (i = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < r->restarts;) {
        const field *f = r->fields + r->which[i];
        double *after = r->state + i * r->size + SCALARS + 2 * s.length;
        desk at = desk_of(j, f->rows, work);
        lay_out(j, f, j->white[i], &at);
        seed(j, f->rows, j->uniforms + (long)i * r->components * j->trials, &at, at.trial);
        lloyd(j, f->rows, &at);
        if (!partitioned(j, &s, f, j->white[i], &at, after)) r->ended[i] = HANDED_BACK;
    }
}

/* The starts of all runs. */
void LOCAL(begin)(starts *j) {
    j->ticket = j->areas = 0;
    LOCAL(spread)(begin_some, j, j->parts);
}
