/* Covariances by volume, shape and orientation: their M-step. */

#include <stdint.h>

/* How many there are of each: one, or as many as components; of axes none where they are the columns. `warm`: what is
 * there already comes from an M-step. */
typedef struct {
    int d, k, volumes, shapes, turns, warm;
} letters;

typedef struct {
    const double *n, *least; /* restarts × components: counts; features: the floor, or NULL */
    double *second;          /* restarts × components × (features × features, or features): covariances, used up */
    double *volume, *shape, *axes; /* restarts × … : what was there, then what is the likeliest */
    int32_t *doubtful;       /* restarts × components: not shown to lie above the floor */
    void *work;              /* parts × room bytes */
    int64_t room;
    int32_t restarts, features, components, volumes, shapes, turns, warm, parts, ticket, areas;
} shaping;

/* Volumes, shapes and axes of components with counts n and covariances `second`, which are used up. `doubtful` tells
 * components with axes of their own of which it could not be shown that they lie above the floor; others are raised to
 * it. Returns 1, with 2 added where one was doubtful or raised; 0 where something is not finite. */
int LOCAL(structured)(const letters *l, const double *n, double *second, const double *least, double *volume,
                      double *shape, double *axes, int32_t *doubtful, double *work);

/* All restarts, each on a thread of its own as far as they go. */
void LOCAL(shape)(shaping *j);
