/* Many runs of EM on few rows, each from its start to its end without a word with Python.
 *
 * The calm case only: where a matrix is not positive definite, a variance falls below the floor, a component has no
 * rows, or rounding threatens, a run is handed back as it was before that step, and the ring goes on from there. Where
 * it was rounding is told apart: all else is a component on its way to one that cannot be believed. */

#include <math.h>
#include <string.h>

#include "job.h"
#include "eigen.h"

enum { MATRIX = 1, COLUMNS = 2, ONE = 3 };           /* the form of a covariance */
enum { RUNNING, STILL, USED_UP, HANDED_BACK };       /* how a run ended */
enum { BOUND, LONGEST, LEAST, STEPS, WAITING, ROUNDED, SCALARS = 8 }; /* places of a run's scalars */

#define SWINGS 12
#define FIRST 4.0
#define FACTOR 4.0
#define SHORTEST 1.5
#define EMPTY 1e-13
#define LOG_2PI 1.83787706640934548356

typedef struct {
    const void *x;       /* features × rows, `stride` apart */
    const void *weight;  /* rows, or NULL */
    const double *total; /* sums of the quadratic features of all rows, where all components share a matrix */
    const double *least; /* features: the floor */
    int64_t rows, stride;
} field;

typedef struct {
    const field *fields;
    const int32_t *which;    /* restarts: its field */
    double *state;           /* restarts × size: scalars, then four models: before, now, after, next */
    double *bounds;          /* restarts, `trace` apart */
    int32_t *passes, *ended; /* restarts */
    void *work;              /* parts × room bytes */
    double per_row;          /* nats that may be left to gain, or scikit-learn's tolerance where `gain` */
    double tolerance;        /* nats that the feature map may lose to rounding */
    double added;            /* to every diagonal */
    double epsilon;          /* of the rows' precision */
    int64_t size, room, trace, spare, area; /* `area`: bytes that a strip of the rows is counted in */
    int32_t restarts, features, components, form, shared, volumes, shapes, turns, kind, quadratics, count;
    int32_t block, panel, single, squarem, begin, gain, until, most, parts, ticket, areas;
    int32_t strips, threads; /* of the rows of a run that is the only one, and who counts them */
} runs;

/* Where the parts of a model lie, in doubles; `kept` is where volumes and common axes lie, for matrices that have them,
 * and `spare` what their M-step works in. */
typedef struct {
    int d, k, matrices, each, kept, length, spare;
} shape;

static shape shape_of(const runs *j) {
    shape s = {j->features, j->components, j->shared ? 1 : j->components, 0, 0, 0, 0};
    s.each = j->form == MATRIX ? s.d * s.d : j->form == COLUMNS ? s.d : 1;
    s.kept = s.k + s.k * s.d + s.matrices * s.each;
    s.length = s.kept + j->volumes + (j->turns == 1 && s.k > 1 ? s.d * s.d : 0);
    s.spare = j->volumes ? j->spare : 0;
    return s;
}

static double *log_weights(double *model) { return model; }
static double *means(const shape *s, double *model) { return model + s->k; }
static double *seconds(const shape *s, double *model) { return model + s->k + s->k * s->d; }

/* The Cholesky factor of a (d × d), lower, in place; returns 0 where there is none. log|a| is written. */
static int cholesky(int d, double *a, double *log_det) {
    *log_det = 0;
    for (int i = 0; i < d; i++) {
        for (int j = 0; j <= i; j++) {
            double sum = a[i * d + j];
            for (int l = 0; l < j; l++) sum -= a[i * d + l] * a[j * d + l];
            if (i > j) {
                a[i * d + j] = sum / a[j * d + j];
            } else {
                if (!(sum > 0)) return 0;
                a[i * d + i] = sqrt(sum);
                *log_det += log(sum);
            }
        }
    }
    return isfinite(*log_det);
}

/* The inverse of a lower triangle, in place. */
static void invert(int d, double *l) {
    for (int j = 0; j < d; j++) {
        l[j * d + j] = 1 / l[j * d + j];
        for (int i = j + 1; i < d; i++) {
            double sum = 0;
            for (int m = j; m < i; m++) sum += l[i * d + m] * l[m * d + j];
            l[i * d + j] = -sum / l[i * d + i];
        }
    }
}

/* Λ (d × d) of one matrix in the form `second`, by way of its factor's inverse; 0 where it is not calm. */
static int precision(const runs *j, const double *least, const double *second, double *lambda, double *white,
                     double *log_det) {
    const int d = j->features;
    if (j->form == MATRIX) {
        memcpy(white, second, (size_t)d * d * sizeof(double));
        if (!cholesky(d, white, log_det)) return 0;
        invert(d, white);
        double spread = 0;
        for (int a = 0; a < d; a++)
            for (int b = 0; b <= a; b++) spread += white[a * d + b] * white[a * d + b] * least[b];
        if (!(spread <= 1)) return 0;
        for (int a = 0; a < d; a++)
            for (int b = 0; b <= a; b++) {
                double sum = 0;
                for (int m = a; m < d; m++) sum += white[m * d + a] * white[m * d + b];
                lambda[a * d + b] = lambda[b * d + a] = sum;
            }
        return 1;
    }
    *log_det = 0;
    double mean_least = 0;
    for (int a = 0; a < d; a++) mean_least += least[a] / d;
    for (int a = 0; a < d; a++) {
        const double v = j->form == COLUMNS ? second[a] : second[0] / d;
        if (!(v > 0 && v < INFINITY && v >= (j->form == COLUMNS ? least[a] : mean_least))) return 0;
        lambda[a] = 1 / v;
        *log_det += log(v);
    }
    return 1;
}

/* Λ v, and vᵀ Λ v. */
static double solve(const runs *j, const double *lambda, const double *v, double *out) {
    const int d = j->features;
    double whole = 0;
    for (int a = 0; a < d; a++) {
        double sum = 0;
        if (j->form == MATRIX)
            for (int b = 0; b < d; b++) sum += lambda[a * d + b] * v[b];
        else
            sum = lambda[a] * v[a];
        out[a] = sum;
        whole += sum * v[a];
    }
    return whole;
}

/* Θ (components × count) of a model and, where the quadratic term is shared, what that term adds to the bound.
 * 0 where the model is not calm, −1 where it is rounding that threatens. */
static int natural(const runs *j, const shape *s, const field *f, double *model, double *theta, double *constant,
                   double *temporary) {
    const int d = s->d, k = s->k;
    double *lambda = temporary, *white = lambda + d * d, *linear = white + d * d, log_det = 0;
    *constant = 0;
    for (int c = 0; c < k; c++) {
        const double *mean = means(s, model) + c * d;
        const double *second = seconds(s, model) + (j->shared ? 0 : c * s->each);
        if ((c == 0 || !j->shared) && !precision(j, f->least, second, lambda, white, &log_det)) return 0;
        const double offset = solve(j, lambda, mean, linear);
        double *t = theta + (long)c * j->count, risk = fabs(offset);
        int p = 0;
        for (int a = 0; a < d; a++) {
            const double sd_a = sqrt(j->form == MATRIX ? second[a * d + a] : 1 / lambda[a]);
            const double far_a = fabs(mean[a]) + 3 * sd_a;
            risk += 2 * fabs(linear[a]) * far_a;
            if (j->form == MATRIX) {
                for (int b = 0; b <= a; b++) {
                    const double twice = (a == b ? 1 : 2) * lambda[a * d + b];
                    const double far_b = fabs(mean[b]) + 3 * sqrt(second[b * d + b]);
                    risk += fabs(twice) * far_a * far_b;
                    if (!j->shared) t[p++] = -0.5 * twice;
                    if (c == 0 && j->shared) *constant -= 0.5 * twice * f->total[a * (a + 1) / 2 + b];
                }
            } else {
                risk += lambda[a] * far_a * far_a;
                if (j->form == COLUMNS && !j->shared) t[p++] = -0.5 * lambda[a];
                if (c == 0 && j->shared && j->form == COLUMNS) *constant -= 0.5 * lambda[a] * f->total[a];
            }
        }
        if (j->form == ONE && !j->shared) t[p++] = -0.5 * lambda[0];
        if (j->form == ONE && j->shared && c == 0) *constant -= 0.5 * lambda[0] * f->total[0];
        for (int a = 0; a < d; a++) t[p++] = linear[a];
        t[p] = log_weights(model)[c] - 0.5 * (d * LOG_2PI + log_det) - 0.5 * offset;
        if (!(0.25 * j->epsilon * risk < j->tolerance)) return -1;
    }
    return 1;
}

/* The bound of a model and the sums of its features: strips of the rows one after the other, or each by who is free, and
 * added up in their order, so that the sums do not depend on how many threads there are. */
static double measure(const runs *j, const field *f, const double *theta, double constant, double *sums,
                      float *narrow, char *work) {
    const long size = (long)j->components * j->count, each = size + 1;
    double *found = (double *)work;
    char *arrays = work + (j->strips * each * (long)sizeof(double) + 63) / 64 * 64;
    job one = {.x = f->x, .weight = f->weight, .theta = theta, .work = arrays, .loglik = found, .sums = found + 1,
               .rows = f->rows, .stride = f->stride, .room = j->area, .apart = each,
               .features = j->features, .components = j->components, .restarts = 1,
               .kind = j->shared ? NONE : j->kind, .quadratics = j->shared ? 0 : j->quadratics, .count = j->count,
               .block = j->block, .panel = j->panel, .batch = 1, .parts = j->strips, .single = j->single};
    if (j->single) {
        for (long i = 0; i < size; i++) narrow[i] = (float)theta[i];
        one.theta = narrow;
    }
    memset(found, 0, j->strips * each * sizeof(double));
    LOCAL(shared)(&one, j->threads);
    memcpy(sums, found + 1, size * sizeof(double));
    for (int s = 1; s < j->strips; s++) {
        found[0] += found[s * each];
        for (long i = 0; i < size; i++) sums[i] += found[s * each + 1 + i];
    }
    return found[0] + constant;
}

/* The M-step but for what matrices have in common: the model after sums; 0 where a component has no rows. */
static int averaged(const runs *j, const shape *s, const field *f, const double *sums, double *model) {
    const int d = s->d, k = s->k, q = j->shared ? 0 : j->quadratics;
    double all = 0;
    for (int c = 0; c < k; c++) all += sums[(long)(c + 1) * j->count - 1];
    double *pooled = seconds(s, model);
    if (j->shared) {
        if (j->form == MATRIX)
            for (int a = 0; a < d; a++)
                for (int b = 0; b <= a; b++) pooled[a * d + b] = f->total[a * (a + 1) / 2 + b] / all;
        else
            for (int a = 0; a < s->each; a++) pooled[a] = f->total[a] / all;
    }
    for (int c = 0; c < k; c++) {
        const double *t = sums + (long)c * j->count, n = t[j->count - 1], share = n / all;
        if (!(share > EMPTY)) return 0;
        log_weights(model)[c] = log(share);
        double *mean = means(s, model) + c * d, *second = j->shared ? pooled : pooled + c * s->each;
        for (int a = 0; a < d; a++) mean[a] = t[q + a] / n;
        for (int a = 0, p = 0; a < d; a++) {
            if (j->form == MATRIX)
                for (int b = 0; b <= a; b++, p++) {
                    if (j->shared)
                        second[a * d + b] -= share * mean[a] * mean[b];
                    else
                        second[a * d + b] = t[p] / n - mean[a] * mean[b];
                }
            else if (j->form == COLUMNS)
                second[a] = j->shared ? second[a] - share * mean[a] * mean[a] : t[a] / n - mean[a] * mean[a];
            else if (j->shared)
                second[0] -= share * mean[a] * mean[a];
            else
                second[0] = (a ? second[0] : t[0] / n) - mean[a] * mean[a];
        }
    }
    for (int m = 0; m < s->matrices; m++) {
        double *second = pooled + m * s->each;
        if (j->form == MATRIX)
            for (int a = 0; a < d; a++) {
                second[a * d + a] += j->added;
                for (int b = 0; b < a; b++) second[b * d + a] = second[a * d + b];
            }
        else
            for (int a = 0; a < s->each; a++) second[a] += j->form == ONE ? d * j->added : j->added;
    }
    return 1;
}

/* Matrices of a model become the likeliest of their structure; 0 where that is not calm. `warm`: the volumes and axes
 * that are kept come from an M-step. */
static int composed(const runs *j, const shape *s, const field *f, double *model, int warm, double *spare) {
    if (!j->volumes) return 1;
    const int d = s->d, k = s->k;
    const letters l = {d, k, j->volumes, j->shapes, j->turns, warm};
    double *second = seconds(s, model), *volume = model + s->kept, *shapes = spare, *n = shapes + k * d;
    double *own = n + k, *axes = j->turns == 1 && k > 1 ? volume + j->volumes : own;
    int32_t *doubtful = (int32_t *)(own + (long)k * d * d);
    double *work = own + (long)k * d * d + k;
    for (int c = 0; c < k; c++) n[c] = exp(log_weights(model)[c]);
    if (LOCAL(structured)(&l, n, second, f->least, volume, shapes, axes, doubtful, work) != 1) return 0;
    for (int c = 0; c < k; c++) {
        const double size = volume[j->volumes == k ? c : 0], *a = shapes + (j->shapes == k ? c * d : 0);
        double *m = second + (long)c * s->each;
        if (!j->turns) {
            for (int i = 0; i < d; i++) m[i] = size * a[i];
            continue;
        }
        const double *q = axes + (j->turns == k ? (long)c * d * d : 0);
        for (int i = 0; i < d; i++)
            for (int h = 0; h <= i; h++) {
                double sum = 0;
                for (int b = 0; b < d; b++) sum += q[i * d + b] * a[b] * q[h * d + b];
                m[i * d + h] = m[h * d + i] = size * sum;
            }
    }
    return 1;
}

/* The M-step: the model after sums; 0 where it is not calm. */
static int maximise(const runs *j, const shape *s, const field *f, const double *sums, double *model, double *spare) {
    return averaged(j, s, f, sums, model) && composed(j, s, f, model, 1, spare);
}

/* How far to leap, in steps of EM: ‖θ₁ − θ₀‖ / ‖θ₂ − 2θ₁ + θ₀‖ by the covariances of θ₀; 1 where that says nothing. */
static double length(const runs *j, const shape *s, const field *f, double *zero, double *one, double *two,
                     double *temporary) {
    const int d = s->d;
    double *lambda = temporary, *white = lambda + d * d, *gap = white + d * d, *out = gap + d, log_det;
    double first = 0, second = 0;
    for (int c = 0; c < s->k; c++) {
        if ((c == 0 || !j->shared) &&
            !precision(j, f->least, seconds(s, zero) + (j->shared ? 0 : c * s->each), lambda, white, &log_det))
            return 1;
        const double *a = means(s, zero) + c * d, *b = means(s, one) + c * d, *e = means(s, two) + c * d;
        const double weight = exp(zero[c]), step = one[c] - zero[c], turn = two[c] - 2 * one[c] + zero[c];
        for (int i = 0; i < d; i++) gap[i] = b[i] - a[i];
        first += weight * (solve(j, lambda, gap, out) + step * step);
        for (int i = 0; i < d; i++) gap[i] = e[i] - 2 * b[i] + a[i];
        second += weight * (solve(j, lambda, gap, out) + turn * turn);
    }
    const double alpha = sqrt(first / second);
    return isfinite(alpha) ? alpha : 1;
}

/* θ₀ + 2α(θ₁ − θ₀) + α²(θ₂ − 2θ₁ + θ₀), with weights that add up to 1; what is kept of matrices is that of θ₂. */
static void leap(const shape *s, double alpha, const double *zero, const double *one, const double *two, double *out) {
    memcpy(out + s->kept, two + s->kept, (s->length - s->kept) * sizeof(double));
    for (int i = 0; i < s->kept; i++)
        out[i] = zero[i] + 2 * alpha * (one[i] - zero[i]) + alpha * alpha * (two[i] - 2 * one[i] + zero[i]);
    double top = -INFINITY, sum = 0;
    for (int c = 0; c < s->k; c++) top = fmax(top, out[c]);
    for (int c = 0; c < s->k; c++) sum += exp(out[c] - top);
    for (int c = 0; c < s->k; c++) out[c] -= top + log(sum);
}

/* Which bounds of a trace of `count` end it: the stopping tests of stop.py. */
static int still(const runs *j, const double *bounds, int count, double weight, double noise) {
    const double *b = bounds + count;
    if (j->gain) return count > 1 && fabs(b[-1] / weight - b[-2] / weight) < j->per_row;
    if (count < 3) return 0;
    const double gain = b[-1] - b[-2], before = b[-2] - b[-3], enough = j->per_row * weight;
    if (fabs(b[-1] - b[-3]) <= noise) return 1;
    const double ratio = gain / before;
    if (fmax(fabs(gain), fabs(before)) <= enough && ratio < 1 && fabs(gain * ratio / (1 - ratio)) <= enough) return 1;
    if (count < 2 * SWINGS) return 0;
    double high[2] = {-INFINITY, -INFINITY}, low[2] = {INFINITY, INFINITY};
    for (int i = 1; i <= 2 * SWINGS; i++) {
        const int before_last = i > SWINGS;
        high[before_last] = fmax(high[before_last], b[-i]);
        low[before_last] = fmin(low[before_last], b[-i]);
    }
    return high[0] <= high[1] + noise && low[0] >= low[1] - noise;
}

/* The next model into `next`, its Θ into `theta`: a leap of more than one step, or where EM arrives; 0 or −1, as
 * `natural` has it, where neither is calm. */
static double ahead(const runs *j, const shape *s, const field *f, int passes, double *scalar, double *theta,
                    double *constant, double *temporary, double *spare) {
    double *before = scalar + SCALARS, *now = before + s->length, *after = now + s->length, *next = after + s->length;
    if (j->squarem && passes >= j->begin && scalar[STEPS] >= 1 && !scalar[WAITING]) {
        const double alpha = fmin(length(j, s, f, before, now, after, temporary), scalar[LONGEST]);
        if (alpha > 1) {
            leap(s, alpha, before, now, after, next);
            if (composed(j, s, f, next, 1, spare) && natural(j, s, f, next, theta, constant, temporary) > 0) return alpha;
            scalar[LONGEST] = fmax(scalar[LONGEST] / FACTOR, SHORTEST);
        }
    }
    memcpy(next, after, s->length * sizeof(double));
    return natural(j, s, f, next, theta, constant, temporary);
}

/* What a pass that followed `alpha` steps says of the pace; returns whether the leap failed. */
static int settled(const runs *j, double *scalar, double alpha, double gain, double weight) {
    const int leaping = alpha > 1, failed = leaping && !(gain >= 0);
    if (leaping && !failed && alpha >= scalar[LONGEST]) scalar[LONGEST] *= FACTOR;
    if (failed) scalar[LONGEST] = fmax(scalar[LONGEST] / FACTOR, SHORTEST);
    scalar[STEPS] = leaping ? 0 : scalar[STEPS] + 1;
    scalar[WAITING] = scalar[STEPS] == 1 && gain <= fmin(j->per_row * weight, scalar[LEAST]);
    if (scalar[WAITING]) scalar[LEAST] = fabs(gain) / 2;
    return failed;
}

/* One run: from where its state is to its end, or until it has taken `until` passes. What is handed back is the model
 * `now`, which the caller has still to measure. */
static void one_run(const runs *j, const shape *s, int r, char *work) {
    const field *f = j->fields + j->which[r];
    const long size = (long)j->components * j->count, model = s->length * sizeof(double);
    double *scalar = j->state + r * j->size, *bounds = j->bounds + r * j->trace;
    double *before = scalar + SCALARS, *now = before + s->length, *after = now + s->length, *next = after + s->length;
    double *theta = (double *)work, *sums = theta + size, *temporary = sums + size;
    double *spare = temporary + 2 * s->d * s->d + 2 * s->d;
    float *narrow = (float *)(spare + s->spare);
    char *arrays = work + ((char *)(narrow + size) - work + 63) / 64 * 64;
    int passes = j->passes[r];
    while (passes < j->until && j->ended[r] == RUNNING) {
        double constant, weight = 0;
        const double alpha = ahead(j, s, f, passes, scalar, theta, &constant, temporary, spare);
        if (alpha <= 0) {
            scalar[ROUNDED] = alpha < 0;
            if (passes)
                passes--; /* `now` was counted, and will be again */
            else
                memcpy(now, next, model);
            j->ended[r] = HANDED_BACK;
            break;
        }
        const double bound = measure(j, f, theta, constant, sums, narrow, arrays);
        for (int c = 0; c < s->k; c++) weight += sums[(long)(c + 1) * j->count - 1];
        const int failed = passes && settled(j, scalar, alpha, bound - scalar[BOUND], weight);
        memcpy(before, now, model);
        if (!failed) {
            memcpy(now, next, model);
            /* An M-step that may end early climbs from where its model is. */
            memcpy(after + s->kept, now + s->kept, (s->length - s->kept) * sizeof(double));
            if (!isfinite(bound) || !maximise(j, s, f, sums, after, spare)) {
                j->ended[r] = HANDED_BACK;
                break;
            }
            scalar[BOUND] = bound;
        }
        bounds[passes++] = scalar[BOUND];
        const double noise = j->epsilon * (fabs(scalar[BOUND]) + weight);
        if ((!j->squarem || scalar[STEPS] >= 2) && still(j, bounds, passes, weight, noise)) j->ended[r] = STILL;
    }
    if (j->ended[r] == RUNNING && passes >= j->most) j->ended[r] = USED_UP;
    j->passes[r] = passes;
}

static void some(void *data) {
    runs *j = data;
    const shape s = shape_of(j);
    char *work = (char *)j->work + __atomic_fetch_add(&j->areas, 1, __ATOMIC_RELAXED) * j->room;
    for (int r; (r = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < j->restarts;)
        if (j->ended[r] == RUNNING) one_run(j, &s, r, work);
}

/* All runs, each on a thread of its own as far as they go. */
void LOCAL(run)(runs *j) {
    j->ticket = j->areas = 0;
    LOCAL(spread)(some, j, j->parts);
}

#include "groups.h"
/* Bytes of the structures that Python fills, in the order of layout.py. */
int LOCAL(layout)(int which) {
    return (int)(which == 0 ? sizeof(job) : which == 1 ? sizeof(field) : which == 2 ? sizeof(runs) : sizeof(starts));
}
