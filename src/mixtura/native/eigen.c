/* Covariances by volume, shape and orientation: what covariance/likeliest.py does by PyTorch's operations, step by
 * step. */

#include <math.h>
#include <string.h>

#include "job.h"
#include "eigen.h"

#define ROUNDS 200
#define WAYS 3
#define TRIED 5
#define LITTLE 0.1
#define SETTLED 1e-13
#define STEADY 1e-10
#define SWEEPS 40

/* What is worked in. */
typedef struct {
    double *spread; /* components × features: mean squares along the axes */
    double *seen;   /* features × features × components: the matrices along common axes */
    double *one, *product, *other; /* features × features */
    double *was, *tried;           /* components: volumes */
    double *levels;                /* components + 1 */
    double *tried_shape;           /* components × features */
} bench;

/* Doubles of a bench, as native/eigen.py counts them. */
static bench bench_of(const letters *l, double *work) {
    const long d = l->d, k = l->k;
    bench b;
    b.spread = work;
    b.tried_shape = b.spread + k * d;
    b.was = b.tried_shape + k * d;
    b.tried = b.was + k;
    b.levels = b.tried + k;
    b.one = b.levels + k + 1;
    b.product = b.one + d * d;
    b.other = b.product + d * d;
    b.seen = b.other + d * d;
    return b;
}

/* Eigenvalues of a symmetric matrix, in increasing order, and its axes as columns, by rotations in all planes in turn
 * (Jacobi 1846). The matrix is used up. 0 where it is not finite. */
static int own_axes(int d, double *m, double *value, double *q) {
    for (int i = 0; i < d * d; i++)
        if (!isfinite(m[i])) return 0;
    memset(q, 0, (size_t)d * d * sizeof(double));
    for (int i = 0; i < d; i++) q[i * d + i] = 1;
    for (int sweep = 0, turned = 1; sweep < SWEEPS && turned; sweep++) {
        turned = 0;
        for (int i = 0; i < d - 1; i++)
            for (int j = i + 1; j < d; j++) {
                const double x = m[i * d + j], a = m[i * d + i], b = m[j * d + j];
                if (fabs(x) <= 0x1p-54 * sqrt(fabs(a * b))) continue;
                turned = 1;
                const double half = (b - a) / (2 * x);
                const double t = (half < 0 ? -1 : 1) / (fabs(half) + sqrt(1 + half * half));
                const double c = 1 / sqrt(1 + t * t), s = t * c;
                for (int l = 0; l < d; l++) {
                    const double u = m[i * d + l], v = m[j * d + l];
                    m[i * d + l] = c * u - s * v;
                    m[j * d + l] = s * u + c * v;
                }
                for (int l = 0; l < d; l++) {
                    const double u = m[l * d + i], v = m[l * d + j], y = q[i * d + l], z = q[j * d + l];
                    m[l * d + i] = c * u - s * v;
                    m[l * d + j] = s * u + c * v;
                    q[i * d + l] = c * y - s * z;
                    q[j * d + l] = s * y + c * z;
                }
            }
    }
    /* Axes are rows so far. */
    for (int i = 0; i < d; i++) {
        int least = i;
        for (int j = i + 1; j < d; j++)
            if (m[j * d + j] < m[least * d + least]) least = j;
        const double v = m[least * d + least];
        m[least * d + least] = m[i * d + i];
        m[i * d + i] = value[i] = v;
        for (int l = 0; l < d && least != i; l++) {
            const double y = q[i * d + l];
            q[i * d + l] = q[least * d + l];
            q[least * d + l] = y;
        }
    }
    for (int i = 0; i < d; i++)
        for (int l = 0; l < i; l++) {
            const double y = q[i * d + l];
            q[i * d + l] = q[l * d + i];
            q[l * d + i] = y;
        }
    return 1;
}

/* What the floor has along an axis, a column of q. */
static double least_along(int d, const double *least, const double *q, int axis) {
    double sum = 0;
    for (int a = 0; a < d; a++) sum += q[a * d + axis] * q[a * d + axis] * least[a];
    return sum;
}

/* exp of the mean logarithm. */
static double middle(int d, const double *v) {
    double sum = 0;
    for (int a = 0; a < d; a++) sum += log(v[a]);
    return exp(sum / d);
}

/* The largest relative change of volumes; those that are no number do not count. */
static double changed(int count, const double *before, const double *after) {
    double most = 0;
    for (int c = 0; c < count; c++) most = fmax(most, fabs(after[c] / before[c] - 1));
    return most;
}

/* Volumes and shapes for mean squares along the axes (Celeux & Govaert 1995); own volumes of one shape begin at those
 * given. */
static void likeliest(const letters *l, const double *n, const double *spread, double *volume, double *shape,
                      double *was) {
    const int d = l->d, k = l->k;
    double all = 0;
    for (int c = 0; c < k; c++) all += n[c];
    if (l->shapes == k) {
        double pooled = 0;
        for (int c = 0; c < k; c++) {
            const double own = middle(d, spread + c * d);
            if (l->volumes == k) volume[c] = own;
            pooled += n[c] * own;
            for (int a = 0; a < d; a++) shape[c * d + a] = spread[c * d + a] / own;
        }
        if (l->volumes != k) volume[0] = pooled / all;
        return;
    }
    for (int round = 0; round < ROUNDS; round++) {
        memset(shape, 0, d * sizeof(double));
        for (int c = 0; c < k; c++) {
            const double weight = n[c] / (l->volumes == k ? volume[c] : all);
            for (int a = 0; a < d; a++) shape[a] += weight * spread[c * d + a];
        }
        const double size = middle(d, shape);
        for (int a = 0; a < d; a++) shape[a] /= size;
        if (l->volumes != k) {
            volume[0] = size;
            return;
        }
        memcpy(was, volume, k * sizeof(double));
        for (int c = 0; c < k; c++) {
            volume[c] = 0;
            for (int a = 0; a < d; a++) volume[c] += spread[c * d + a] / shape[a] / d;
        }
        if (changed(k, was, volume) < SETTLED) return;
    }
}

/* Σ n log λ: what is left of what is minimised where shapes are the likeliest. */
static double level(const letters *l, const double *n, const double *volume) {
    double sum = 0;
    for (int c = 0; c < l->k; c++) sum += n[c] * log(volume[l->volumes == l->k ? c : 0]);
    return sum;
}

/* The matrices along common axes, `seen`. */
static void look_along(const letters *l, const double *second, const double *q, const bench *b) {
    const int d = l->d, k = l->k;
    for (int c = 0; c < k; c++) {
        const double *s = second + (long)c * d * d;
        memset(b->product, 0, (size_t)d * d * sizeof(double));
        for (int i = 0; i < d; i++)
            for (int m = 0; m < d; m++)
                for (int j = 0; j < d; j++) b->product[i * d + j] += s[i * d + m] * q[m * d + j];
        memset(b->one, 0, (size_t)d * d * sizeof(double));
        for (int m = 0; m < d; m++)
            for (int i = 0; i < d; i++)
                for (int j = 0; j < d; j++) b->one[i * d + j] += q[m * d + i] * b->product[m * d + j];
        for (int i = 0; i < d * d; i++) b->seen[(long)i * k + c] = b->one[i];
    }
}

/* Volumes and shapes along the common axes; returns whether something lay below the floor and was raised to it. */
static int sized(const letters *l, const double *n, const double *least, const double *q, double *volume,
                 double *shape, const bench *b) {
    const int d = l->d, k = l->k;
    int raised = 0;
    for (int a = 0; a < d; a++) {
        const double low = least ? least_along(d, least, q, a) : -INFINITY;
        for (int c = 0; c < k; c++) {
            double v = b->seen[((long)a * d + a) * k + c];
            if (v < low) v = low, raised = 1;
            b->spread[c * d + a] = v;
        }
    }
    likeliest(l, n, b->spread, volume, shape, b->was);
    return raised;
}

/* The element at a place of a round-robin tournament's ring of m. */
static int playing(int m, int round, int place) {
    return place ? (place - 1 - round + m - 1) % (m - 1) + 1 : 0;
}

/* A sweep of rotations of the common axes in the planes of all pairs (`turned` in covariance/axes.py); `seen` turns
 * with them. */
static void sweep(const letters *l, const double *n, const double *volume, const double *shape, double *q,
                  const bench *b) {
    const int d = l->d, k = l->k, ring = d + d % 2;
    for (int round = 0; round < ring - 1; round++)
        for (int place = 0; place < ring / 2; place++) {
            const int one = playing(ring, round, place), two = playing(ring, round, ring - 1 - place);
            const int i = one < two ? one : two, j = one < two ? two : one;
            if (j >= d) continue;
            double *ii = b->seen + ((long)i * d + i) * k, *jj = b->seen + ((long)j * d + j) * k;
            double *ij = b->seen + ((long)i * d + j) * k, x = 0, y = 0;
            for (int c = 0; c < k; c++) {
                const double size = volume[l->volumes == k ? c : 0];
                const double more = n[c] / size * (1 / shape[c * d + i] - 1 / shape[c * d + j]);
                x += 0.5 * more * (ii[c] - jj[c]);
                y += more * ij[c];
            }
            const double angle = 0.5 * atan2(-y, -x), cosine = cos(angle), sine = sin(angle);
            double *row_i = b->seen + (long)i * d * k, *row_j = b->seen + (long)j * d * k;
            for (int m = 0; m < d * k; m++) {
                const double u = row_i[m], v = row_j[m];
                row_i[m] = cosine * u + sine * v;
                row_j[m] = cosine * v - sine * u;
            }
            for (int m = 0; m < d; m++) {
                double *left = b->seen + ((long)m * d + i) * k, *right = b->seen + ((long)m * d + j) * k;
                for (int c = 0; c < k; c++) {
                    const double u = left[c], v = right[c];
                    left[c] = cosine * u + sine * v;
                    right[c] = cosine * v - sine * u;
                }
                const double u = q[m * d + i], v = q[m * d + j];
                q[m * d + i] = cosine * u + sine * v;
                q[m * d + j] = cosine * v - sine * u;
            }
        }
    /* One step of Newton's towards orthonormal columns: rotations lose a digit in some thousand. */
    for (int i = 0; i < d; i++)
        for (int j = 0; j < d; j++) {
            double sum = 0;
            for (int m = 0; m < d; m++) sum += q[m * d + i] * q[m * d + j];
            b->one[i * d + j] = (i == j ? 1.5 : 0) - 0.5 * sum;
        }
    memset(b->product, 0, (size_t)d * d * sizeof(double));
    for (int i = 0; i < d; i++)
        for (int m = 0; m < d; m++)
            for (int j = 0; j < d; j++) b->product[i * d + j] += q[i * d + m] * b->one[m * d + j];
    memcpy(q, b->product, (size_t)d * d * sizeof(double));
}

/* Common axes that suit the volumes and shapes better; 0 where something is not finite. */
static int improved(const letters *l, const double *n, const double *second, const double *volume, const double *shape,
                    double *q, const bench *b) {
    const int d = l->d, k = l->k;
    if (l->shapes == k) {
        sweep(l, n, volume, shape, q, b);
        return 1;
    }
    memset(b->product, 0, (size_t)d * d * sizeof(double));
    for (int c = 0; c < k; c++)
        for (int i = 0; i < d * d; i++)
            b->product[i] += n[c] / volume[l->volumes == k ? c : 0] * second[(long)c * d * d + i];
    if (!own_axes(d, b->product, b->spread, q)) return 0;
    look_along(l, second, q, b);
    return 1;
}

/* Axes that may be a way in, `other`, and what is seen along them: those of all scatter together, or of one component
 * from 1 on; 0 where they are not finite. */
static int way_in(const letters *l, const double *n, const double *second, int from, const bench *b) {
    const int d = l->d;
    memset(b->product, 0, (size_t)d * d * sizeof(double));
    for (int c = 0; c < l->k; c++)
        for (int i = 0; i < d * d && (!from || from == c + 1); i++)
            b->product[i] += n[c] * second[(long)c * d * d + i];
    if (!own_axes(d, b->product, b->spread, b->other)) return 0;
    look_along(l, second, b->other, b);
    return 1;
}

/* The M-step where components share their axes. Returns 1, with 2 added where something was raised to the floor; 0
 * where something is not finite. */
static int together(const letters *l, const double *n, const double *second, const double *least, double *volume,
                    double *shape, double *axes, const bench *b) {
    const int d = l->d, k = l->k, turning = l->shapes == k;
    for (long i = 0; i < (long)k * d * d; i++)
        if (!isfinite(second[i])) return 0;
    look_along(l, second, axes, b);
    int raised = sized(l, n, least, axes, volume, shape, b);
    if (turning && !l->warm) {
        for (int from = 0; from <= k; from++) {
            if (!way_in(l, n, second, from, b)) return 0;
            sized(l, n, least, b->other, b->tried, b->tried_shape, b);
            b->levels[from] = level(l, n, b->tried);
        }
        for (int way = 0; way < WAYS && way <= k; way++) {
            int best = 0;
            for (int from = 1; from <= k; from++)
                if (b->levels[from] < b->levels[best]) best = from;
            b->levels[best] = INFINITY;
            if (!way_in(l, n, second, best, b)) return 0;
            int low = sized(l, n, least, b->other, b->tried, b->tried_shape, b);
            for (int round = 0; round < TRIED; round++) {
                sweep(l, n, b->tried, b->tried_shape, b->other, b);
                low = sized(l, n, least, b->other, b->tried, b->tried_shape, b);
            }
            if (!(level(l, n, b->tried) < level(l, n, volume))) continue;
            memcpy(axes, b->other, (size_t)d * d * sizeof(double));
            memcpy(volume, b->tried, l->volumes * sizeof(double));
            memcpy(shape, b->tried_shape, (size_t)l->shapes * d * sizeof(double));
            raised = low;
        }
        look_along(l, second, axes, b);
    }
    double first = 0;
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(b->tried, volume, l->volumes * sizeof(double));
        memcpy(b->other, axes, (size_t)d * d * sizeof(double));
        if (!improved(l, n, second, volume, shape, axes, b)) return 0;
        raised = sized(l, n, least, axes, volume, shape, b);
        const double gain = level(l, n, b->tried) - level(l, n, volume);
        if (!round) first = gain;
        double moved = 0;
        for (int i = 0; i < d * d; i++) moved = fmax(moved, fabs(axes[i] - b->other[i]));
        if (turning ? moved < STEADY : !(changed(k, b->tried, volume) >= SETTLED)) break;
        if (l->warm && !(gain > LITTLE * first)) break;
    }
    return raised ? 3 : 1;
}

int LOCAL(structured)(const letters *l, const double *n, double *second, const double *least, double *volume,
                      double *shape, double *axes, int32_t *doubtful, double *work) {
    const int d = l->d, k = l->k;
    const bench b = bench_of(l, work);
    int raised = 0;
    if (l->turns == 1 && k > 1) return together(l, n, second, least, volume, shape, axes, &b);
    for (int c = 0; c < k; c++) {
        double *spread = b.spread + c * d;
        if (!l->turns) {
            for (int a = 0; a < d; a++) {
                spread[a] = second[c * d + a];
                if (!isfinite(spread[a])) return 0;
                if (least && spread[a] < least[a]) spread[a] = least[a], raised = 1;
            }
            continue;
        }
        double *q = axes + (long)c * d * d, room = 0;
        if (!own_axes(d, second + (long)c * d * d, spread, q)) return 0;
        for (int a = 0; a < d && least; a++) room += least_along(d, least, q, a) / spread[a];
        doubtful[c] = !(spread[0] > 0 && room <= 1);
        if (least && doubtful[c]) raised = 1;
    }
    likeliest(l, n, b.spread, volume, shape, b.was);
    return raised ? 3 : 1;
}

static void some(void *data) {
    shaping *j = data;
    const letters l = {j->features, j->components, j->volumes, j->shapes, j->turns, j->warm};
    const long d = l.d, k = l.k, each = l.turns ? d * d : d;
    char *work = (char *)j->work + __atomic_fetch_add(&j->areas, 1, __ATOMIC_RELAXED) * j->room;
    for (long r; (r = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < j->restarts;) {
        double *volume = j->volume + r * l.volumes, *shape = j->shape + r * l.shapes * d;
        if (LOCAL(structured)(&l, j->n + r * k, j->second + r * k * each, j->least, volume, shape,
                              j->axes + r * l.turns * d * d, j->doubtful + r * k, (double *)work))
            continue;
        for (long i = 0; i < l.volumes; i++) volume[i] = NAN;
        for (long i = 0; i < l.shapes * d; i++) shape[i] = NAN;
    }
}

void LOCAL(shape)(shaping *j) {
    j->ticket = j->areas = 0;
    LOCAL(spread)(some, j, j->parts);
}

/* Bytes of the structure that Python fills. */
int LOCAL(layout_eigen)(int which) {
    (void)which;
    return (int)sizeof(shaping);
}
