/* ALRIGHT for Table 3 and nothing else, as by hand: d = 2, two outputs, one datum an objective, full gradients, all in
 * registers, no test of divergence, nothing counted. A floor that no general loop is asked to reach.
 */
#include <math.h>

#include "pcg64.h"

/* dpo, sft: the one row of each objective; origin: DPO's. */
void special_alright(const double *dpo, const double *sft, const double *origin, double lam, double alpha,
                     double weight_decay, double *theta, int64_t steps, Pcg64 *rng) {
    double x = theta[0], y = theta[1];
    Pcg64 draws = *rng;
    for (int64_t t = 0; t < steps; t++) {
        int coin = uniform(&draws) < lam;
        double a = coin ? dpo[0] : sft[0], b = coin ? dpo[1] : sft[1];
        double u = coin ? origin[0] : 0.0, v = coin ? origin[1] : 0.0;
        double z = a * (x - u) + b * (y - v), e = exp(-fabs(z));
        double p = (z > 0.0 ? 1.0 : e) / (1.0 + e);
        x -= alpha * (p * a + weight_decay * x);
        y -= alpha * (p * b + weight_decay * y);
    }
    theta[0] = x, theta[1] = y;
}
