/* One pass over rows in the precision `real`; included once for double and once for float.
 *
 * Rows are taken a block at a time, so that everything between the rows and the sums stays in the cache: features of
 * the block (a panel of them at a time), log joint densities, responsibilities, and what these add to the sums. */

#define NAME(f) GLUE(f, SUFFIX)
#define INLINE static inline __attribute__((always_inline))

typedef real NAME(vec) __attribute__((vector_size(32)));
typedef whole NAME(ivec) __attribute__((vector_size(32)));
typedef natural NAME(uvec) __attribute__((vector_size(32)));
typedef double NAME(wide) __attribute__((vector_size(LANES * 8)));
#define vec NAME(vec)
#define ivec NAME(ivec)
#define uvec NAME(uvec)
#define wide NAME(wide)

/* e^x for x ≤ 0: x = n log 2 + r, and the Chebyshev polynomial of e^r on |r| ≤ ½ log 2. 0 below LOWEST; NaN stays. */
INLINE vec NAME(expv)(vec x) {
    const vec n = (x * (real)1.44269504088896340736 + MAGIC);
    const vec k = n - MAGIC;
    const vec r = (x - k * LOG2_HIGH) - k * LOG2_LOW;
    /* Terms in pairs, pairs in pairs (Estrin): half as many steps that wait for each other as Horner's scheme. */
    const real *e = NAME(exp_terms);
    const vec r2 = r * r, r4 = r2 * r2;
    vec p = e[4] + e[5] * r;
    if (EXP_TERMS == 12)
        p = (p + r2 * (e[6] + e[7] * r)) + r4 * ((e[8] + e[9] * r) + r2 * (e[10] + e[11] * r));
    else
        p += r2 * e[6];
    p = ((e[0] + e[1] * r) + r2 * (e[2] + e[3] * r)) + r4 * p;
    const vec scaled = (vec)((uvec)p + ((uvec)n << MANTISSA)); /* unsigned: of a NaN this may wrap */
    return (vec)(((ivec)scaled & ~(x < LOWEST)) | (x != x)); /* whatever a NaN carries */
}

/* log t for finite t > 0: t = 2^e m with m near 1, and the series of 2 artanh((m − 1) / (m + 1)). NaN stays. */
INLINE vec NAME(logv)(vec t) {
    const ivec bits = (ivec)t - HALF_ROOT;
    const ivec e = bits >> MANTISSA;
    const vec m = (vec)((uvec)t - ((uvec)e << MANTISSA));
    const vec f = (m - 1) / (m + 1), s = f * f;
    vec p = s * 0;
    for (int i = LOG_TERMS; i > 0; i--) p = (p + (real)1 / (2 * i + 1)) * s;
    const vec k = __builtin_convertvector(e, vec);
    return k * LOG2_HIGH + (k * LOG2_LOW + (2 * f + 2 * f * p)) + 0 * t;
}

INLINE vec NAME(higher)(vec a, vec b) {
    const ivec at = a > b;
    return (vec)(((ivec)a & at) | ((ivec)b & ~at));
}

/* Sum of the lanes, in double. */
INLINE double NAME(lanes)(vec v) {
    const wide w = __builtin_convertvector(v, wide);
    double sum = 0;
    for (int i = 0; i < LANES; i++) sum += w[i];
    return sum;
}

/* Features p0 … p1 − 1 of a block of rows: quadratic ones first, then x, then 1; `size` columns, a multiple of LANES. */
static void NAME(features)(const job *j, const real *x, int p0, int p1, int size, real *phi) {
    const int d = j->features, q = j->quadratics;
    int p = 0;
    if (j->kind == VECH) {
        for (int a = 0; a < d && p < p1; p += ++a) {
            const int from = p0 > p ? p0 - p : 0, to = p1 - p < a + 1 ? p1 - p : a + 1;
            const vec *xa = (const vec *)(x + (long)a * size);
            for (int b = from; b < to; b++) {
                const vec *xb = (const vec *)(x + (long)b * size);
                vec *out = (vec *)(phi + (long)(p + b - p0) * size);
                for (int n = 0; n < size / LANES; n++) out[n] = xa[n] * xb[n];
            }
        }
    } else if (j->kind == SQUARES) {
        for (int a = p0; a < d && a < p1; a++) {
            const vec *xa = (const vec *)(x + (long)a * size);
            vec *out = (vec *)(phi + (long)(a - p0) * size);
            for (int n = 0; n < size / LANES; n++) out[n] = xa[n] * xa[n];
        }
    } else if (j->kind == NORM && p0 == 0) {
        vec *out = (vec *)phi;
        for (int n = 0; n < size / LANES; n++) out[n] = (vec){0};
        for (int a = 0; a < d; a++) {
            const vec *xa = (const vec *)(x + (long)a * size);
            for (int n = 0; n < size / LANES; n++) out[n] += xa[n] * xa[n];
        }
    }
    for (p = p0 > q ? p0 : q; p < p1; p++) {
        real *out = phi + (long)(p - p0) * size;
        if (p < q + d)
            memcpy(out, x + (long)(p - q) * size, size * sizeof(real));
        else
            for (int n = 0; n < size; n++) out[n] = 1;
    }
}

/* joint (rows × size) = or += θ (rows × count, `stride` apart) · φ (count × size), in tiles that fit the registers. */
INLINE void NAME(joint_tile)(const int rows, const int wideness, const real *theta, long stride, const real *phi,
                             int count, int size, int more, real *joint) {
    vec sum[4][3];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wideness; v++)
            sum[r][v] = more ? *(const vec *)(joint + (long)r * size + v * LANES) : (vec){0};
    for (int p = 0; p < count; p++) {
        const vec *f = (const vec *)(phi + (long)p * size);
        for (int r = 0; r < rows; r++) {
            const real t = theta[r * stride + p];
            for (int v = 0; v < wideness; v++) sum[r][v] += t * f[v];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < wideness; v++) *(vec *)(joint + (long)r * size + v * LANES) = sum[r][v];
}

INLINE void NAME(joint_rows)(const int rows, const real *theta, long stride, const real *phi, int count, int size,
                             int more, real *joint) {
    int n = 0;
    for (; n + 3 * LANES <= size; n += 3 * LANES)
        NAME(joint_tile)(rows, 3, theta, stride, phi + n, count, size, more, joint + n);
    for (; n < size; n += LANES) NAME(joint_tile)(rows, 1, theta, stride, phi + n, count, size, more, joint + n);
}

static void NAME(joint)(int rows, const real *theta, long stride, const real *phi, int count, int size, int more,
                        real *out) {
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        NAME(joint_rows)(4, theta + r * stride, stride, phi, count, size, more, out + (long)r * size);
    switch (rows - r) {
    case 3: NAME(joint_rows)(3, theta + r * stride, stride, phi, count, size, more, out + (long)r * size); break;
    case 2: NAME(joint_rows)(2, theta + r * stride, stride, phi, count, size, more, out + (long)r * size); break;
    case 1: NAME(joint_rows)(1, theta + r * stride, stride, phi, count, size, more, out + (long)r * size); break;
    }
}

/* sums (rows × count, `stride` apart) += r (rows × size) · φᵀ (size × count), added up in double. */
INLINE void NAME(sums_tile)(const int rows, const int wideness, const real *r, const real *phi, int size, double *sums,
                            long stride) {
    vec sum[4][3];
    for (int m = 0; m < rows; m++)
        for (int p = 0; p < wideness; p++) sum[m][p] = (vec){0};
    for (int n = 0; n < size; n += LANES) {
        vec f[3];
        for (int p = 0; p < wideness; p++) f[p] = *(const vec *)(phi + (long)p * size + n);
        for (int m = 0; m < rows; m++) {
            const vec t = *(const vec *)(r + (long)m * size + n);
            for (int p = 0; p < wideness; p++) sum[m][p] += t * f[p];
        }
    }
    for (int m = 0; m < rows; m++)
        for (int p = 0; p < wideness; p++) sums[m * stride + p] += NAME(lanes)(sum[m][p]);
}

INLINE void NAME(sums_rows)(const int rows, const real *r, const real *phi, int count, int size, double *sums,
                            long stride) {
    int p = 0;
    for (; p + 3 <= count; p += 3) NAME(sums_tile)(rows, 3, r, phi + (long)p * size, size, sums + p, stride);
    for (; p < count; p++) NAME(sums_tile)(rows, 1, r, phi + (long)p * size, size, sums + p, stride);
}

static void NAME(sums)(int rows, const real *r, const real *phi, int count, int size, double *sums, long stride) {
    int m = 0;
    for (; m + 4 <= rows; m += 4)
        NAME(sums_rows)(4, r + (long)m * size, phi, count, size, sums + m * stride, stride);
    switch (rows - m) {
    case 3: NAME(sums_rows)(3, r + (long)m * size, phi, count, size, sums + m * stride, stride); break;
    case 2: NAME(sums_rows)(2, r + (long)m * size, phi, count, size, sums + m * stride, stride); break;
    case 1: NAME(sums_rows)(1, r + (long)m * size, phi, count, size, sums + m * stride, stride); break;
    }
}

/* Log joint densities (components × size) become weighted responsibilities; returns Σ w log p(x) over `valid` rows. */
static double NAME(share)(int components, int valid, int size, const real *weight, real *joint) {
    wide total = {0};
    vec product = {0};
    product += 1;
    int factors = 0;
    for (int n = 0; n < size; n += LANES) {
        vec top = *(vec *)(joint + n);
        for (int k = 1; k < components; k++) top = NAME(higher)(*(vec *)(joint + (long)k * size + n), top);
        ivec live = {0};
        live -= 1;
        if (n + LANES > valid)
            for (int i = 0; i < LANES; i++) live[i] = n + i < valid ? -1 : 0;
        vec sum = {0};
        for (int k = 0; k < components; k++) {
            vec *at = (vec *)(joint + (long)k * size + n);
            *at = NAME(expv)(*at - top);
            sum += *at;
        }
        const vec one = {0};
        sum = (vec)(((ivec)sum & live) | ((ivec)(one + 1) & ~live));
        top = (vec)((ivec)top & live);
        vec scale = (vec)((ivec)(1 / sum) & live);
        if (weight) {
            vec w = {0};
            for (int i = 0; i < LANES && n + i < valid; i++) w[i] = weight[n + i];
            total += __builtin_convertvector(w, wide) *
                     (__builtin_convertvector(top, wide) + __builtin_convertvector(NAME(logv)(sum), wide));
            scale *= w;
        } else {
            /* One logarithm for eight factors, each between 1 and the number of components. */
            total += __builtin_convertvector(top, wide);
            product *= sum;
            if (++factors == 8) {
                total += __builtin_convertvector(NAME(logv)(product), wide);
                product = one + 1;
                factors = 0;
            }
        }
        for (int k = 0; k < components; k++) *(vec *)(joint + (long)k * size + n) *= scale;
    }
    if (factors) total += __builtin_convertvector(NAME(logv)(product), wide);
    double found = 0;
    for (int i = 0; i < LANES; i++) found += total[i];
    return found;
}

void LOCAL(NAME(part))(const job *j, int64_t from, int64_t to, real *work, double *loglik, double *sums) {
    const int d = j->features, k = j->components, count = j->count, block = j->block, panel = j->panel;
    const real *theta = j->theta, *all = j->x, *weights = j->weight;
    real *x = work, *phi = x + (long)d * block, *joint = phi + (long)panel * block;
    for (int64_t at = from; at < to; at += block) {
        const int valid = to - at < block ? to - at : block, size = (valid + LANES - 1) / LANES * LANES;
        for (int a = 0; a < d; a++) {
            memcpy(x + (long)a * size, all + a * j->stride + at, valid * sizeof(real));
            for (int n = valid; n < size; n++) x[(long)a * size + n] = 0;
        }
        const int whole_map = count <= panel;
        if (whole_map) NAME(features)(j, x, 0, count, size, phi);
        for (int r = 0; r < j->restarts; r += j->batch) {
            const int some = j->restarts - r < j->batch ? j->restarts - r : j->batch;
            const real *own = theta + (long)r * k * count;
            double *into = sums + (long)r * k * count;
            for (int p = 0; p < count; p += panel) {
                const int width = count - p < panel ? count - p : panel;
                if (!whole_map) NAME(features)(j, x, p, p + width, size, phi);
                NAME(joint)(some * k, own + p, count, phi, width, size, p > 0, joint);
            }
            for (int i = 0; i < some; i++)
                loglik[r + i] += NAME(share)(k, valid, size, weights ? weights + at : 0, joint + (long)i * k * size);
            /* The last panel is still there, so the way back begins with it. */
            for (int p = (count - 1) / panel * panel; p >= 0; p -= panel) {
                const int width = count - p < panel ? count - p : panel;
                if (!whole_map && p + panel < count) NAME(features)(j, x, p, p + width, size, phi);
                NAME(sums)(some * k, joint, phi, width, size, into + p, count);
            }
        }
    }
}

#undef vec
#undef ivec
#undef uvec
#undef wide
#undef NAME
#undef INLINE
