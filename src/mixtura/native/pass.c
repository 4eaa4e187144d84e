/* mixtura's compiled pass: E-step and the sums of the M-step, fused. See ARCHITECTURE.md, "The compiled pass".
 *
 * Plain C with GCC's vector extensions (GCC ≥ 12, Clang ≥ 15). Compiled once for each level of the processor; LEVEL
 * names the functions, and `mixtura_level` says which of them this machine runs. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

#include "job.h"

#define real double
#define whole int64_t
#define natural uint64_t
#define SUFFIX _double
#define LANES 4
#define MANTISSA 52
#define MAGIC 0x1.8p52
#define LOG2_HIGH 0x1.62e42fefa3800p-1
#define LOG2_LOW 0x1.ef35793c76730p-45
#define LOWEST -708.0
#define HALF_ROOT 0x3fe6a09e667f3bcdLL
#define LOG_TERMS 10
#define EXP_TERMS 12
static const double exp_terms_double[] = {1.0, 1.0, 0.50000000000000184039, 0.1666666666666668082,
    0.04166666666648795252, 0.0083333333333195896163, 0.0013888888952352862866, 0.00019841269890076402829,
    0.000024801485441561312966, 2.7557240887229868596e-6, 2.763265472252779189e-7,
    2.5110049204818659793e-8};
#include "pass.h"
#undef real
#undef whole
#undef natural
#undef SUFFIX
#undef LANES
#undef MANTISSA
#undef MAGIC
#undef LOG2_HIGH
#undef LOG2_LOW
#undef LOWEST
#undef HALF_ROOT
#undef LOG_TERMS
#undef EXP_TERMS

#define real float
#define whole int32_t
#define natural uint32_t
#define SUFFIX _float
#define LANES 8
#define MANTISSA 23
#define MAGIC 0x1.8p23f
#define LOG2_HIGH 0x1.62e400p-1f
#define LOG2_LOW 0x1.7f7d1cp-20f
#define LOWEST -78.0f
#define HALF_ROOT 0x3f3504f3
#define LOG_TERMS 5
#define EXP_TERMS 7
static const float exp_terms_float[] = {1.0f, 1.0000000377388712611f, 0.50000000471460574196f, 0.1666641541404117843f,
    0.041666352771112211265f, 0.0083751347746243251734f, 0.0013941118895837000817f};
#include "pass.h"

static void run(void *data) {
    job *j = data;
    for (int part; (part = __atomic_fetch_add(&j->ticket, 1, __ATOMIC_RELAXED)) < j->parts;) {
        /* Parts end at whole blocks, so that sums do not depend on who computes them. */
        const int64_t blocks = (j->rows + j->block - 1) / j->block;
        int64_t from = blocks * part / j->parts * j->block, to = blocks * (part + 1) / j->parts * j->block;
        if (to > j->rows) to = j->rows;
        char *work = (char *)j->work + part * j->room;
        double *loglik = j->loglik + part * j->apart, *sums = j->sums + part * j->apart;
        if (j->single)
            LOCAL(part_float)(j, from, to, (float *)work, loglik, sums);
        else
            LOCAL(part_double)(j, from, to, (double *)work, loglik, sums);
    }
}

typedef void team(void (*)(void *), void *, unsigned, unsigned);

static team *found;
static int looked;

/* Threads do not outlive a fork, but a team in the child would wait for them: it gets on without. */
static void alone(void) { found = 0; }

static team *find(void) {
    if (!__atomic_load_n(&looked, __ATOMIC_ACQUIRE)) {
        team *here = 0;
        *(void **)&here = dlsym(RTLD_DEFAULT, "GOMP_parallel");
        if (here && pthread_atfork(0, 0, alone)) here = 0;
        __atomic_store_n(&found, here, __ATOMIC_RELEASE);
        __atomic_store_n(&looked, 1, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&found, __ATOMIC_ACQUIRE);
}

void LOCAL(spread)(void (*f)(void *), void *data, int parts) {
    team *with = parts > 1 ? find() : 0;
    if (with)
        with(f, data, (unsigned)parts, 0);
    else
        f(data);
}

void LOCAL(shared)(job *j, int threads) {
    j->ticket = 0;
    LOCAL(spread)(run, j, threads < j->parts ? threads : j->parts);
}

/* All parts of a job. */
void LOCAL(count)(job *j) { LOCAL(shared)(j, j->parts); }
