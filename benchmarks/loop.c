/* The loop of toyopt/_kernel.py in C, over the same arrays and in the same order of arithmetic and of random draws,
 * so that the last iterates can be held against each other to the last bit. Compiled by benchmarks/c_loop.py.
 *
 * Left out, as the simulator leaves it out unless it is asked: records, the average, the best iterate, choices.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pcg64.h"

enum { SEQUENTIAL, MIX, ALRIGHT, MAXRIGHT };

typedef struct {
    int64_t n_obj, dim;
    const double *rows;    /* (R, dim) */
    const int64_t *ptr;    /* a datum's rows are ptr[n] .. ptr[n+1] */
    const int64_t *data;   /* an objective's data are data[i] .. data[i+1] */
    const double *origins; /* (n_obj, dim) */
    int64_t widest;        /* the most rows that a datum has */
} Problem;

typedef struct {
    int64_t kind;
    const double *weights, *f_star; /* (n_obj,) */
    int64_t k, stages;
    const int64_t *order, *budgets; /* (stages,) */
    const double *thresholds;       /* (stages,) or NULL */
} Rule;

static inline int64_t pick(Pcg64 *rng, int64_t first, int64_t last) {
    int64_t n = (int64_t)(uniform(rng) * (double)(last - first));
    return first + (n < last - first - 1 ? n : last - first - 1);
}

static inline double margin(const Problem *p, int64_t r, const double *origin, const double *theta) {
    double z = 0.0;
    for (int64_t j = 0; j < p->dim; j++) z += p->rows[r * p->dim + j] * (theta[j] - origin[j]);
    return z;
}

/* Adds scale * gradient of datum n to g (unless g is NULL); returns its value (0 unless wanted). */
static inline double datum(const Problem *p, int64_t n, const double *origin, const double *theta, double *z,
                           double scale, double *g, int want_value) {
    int64_t lo = p->ptr[n], hi = p->ptr[n + 1], d = p->dim;
    if (hi - lo == 1) {
        double z0 = margin(p, lo, origin, theta), e = exp(-fabs(z0));
        if (g) {
            double share = scale * (z0 > 0.0 ? 1.0 : e) / (1.0 + e);
            for (int64_t j = 0; j < d; j++) g[j] += share * p->rows[lo * d + j];
        }
        return want_value ? (z0 > 0.0 ? z0 : 0.0) + log1p(e) : 0.0;
    }
    double m = 0.0;
    for (int64_t r = lo; r < hi; r++) {
        z[r - lo] = margin(p, r, origin, theta);
        m = z[r - lo] > m ? z[r - lo] : m;
    }
    double s = expm1(-m);
    for (int64_t r = lo; r < hi; r++) {
        z[r - lo] = exp(z[r - lo] - m);
        s += z[r - lo];
    }
    if (g)
        for (int64_t r = lo; r < hi; r++) {
            double share = scale * z[r - lo] / (1.0 + s);
            for (int64_t j = 0; j < d; j++) g[j] += share * p->rows[r * d + j];
        }
    return want_value ? m + log1p(s) : 0.0;
}

static inline double objective(const Problem *p, int64_t i, const double *theta, double *z, double scale, double *g,
                               int want_value) {
    int64_t first = p->data[i], last = p->data[i + 1];
    double value = 0.0, share = scale / (double)(last - first);
    for (int64_t n = first; n < last; n++)
        value += datum(p, n, p->origins + i * p->dim, theta, z, share, g, want_value);
    return value / (double)(last - first);
}

enum { HEAVY_BALL, ADAM, ADAMW };

typedef struct {
    int64_t kind;
    double first, second, epsilon;
} Optimizer;

/* One update of an optimizer with memory: memory is mean (d), square (d), the two corrections and the updates done. */
static inline double move(const Optimizer *o, double *memory, int64_t d, double alpha, double decay, const double *g,
                          double *theta) {
    double size = 0.0, *mean = memory, *square = memory + d, *correction = memory + 2 * d, *n = memory + 2 * d + 2;
    if (o->kind == HEAVY_BALL) {
        for (int64_t j = 0; j < d; j++) {
            mean[j] = o->first * mean[j] + (g[j] + decay * theta[j]);
            theta[j] -= alpha * mean[j];
            size += fabs(theta[j]);
        }
        return size;
    }
    *n += 1.0;
    if (correction[0] < 1.0) correction[0] = 1.0 - pow(o->first, *n);
    if (correction[1] < 1.0) correction[1] = 1.0 - pow(o->second, *n);
    double step = alpha / correction[0], root = sqrt(correction[1]);
    double coupled = o->kind == ADAM ? decay : 0.0, kept = o->kind == ADAMW ? 1.0 - alpha * decay : 1.0;
    for (int64_t j = 0; j < d; j++) {
        double slope = g[j] + coupled * theta[j];
        mean[j] += (1.0 - o->first) * (slope - mean[j]);
        square[j] = o->second * square[j] + (1.0 - o->second) * slope * slope;
        theta[j] = kept * theta[j] - step * mean[j] / (sqrt(square[j]) / root + o->epsilon);
        size += fabs(theta[j]);
    }
    return size;
}

typedef struct {
    double *z, *g, *gaps;
    int64_t stage, done, t;
} Work;

static inline int64_t choose_sequential(const Problem *p, const Rule *rule, const double *theta, Work *w) {
    for (; w->stage < rule->stages; w->stage++, w->done = 0) {
        int64_t i = rule->order[w->stage];
        if (w->done >= rule->budgets[w->stage]) continue;
        if (rule->thresholds && objective(p, i, theta, w->z, 1.0, NULL, 1) < rule->thresholds[w->stage]) continue;
        return i;
    }
    return -1;
}

static inline int64_t choose_alright(const Problem *p, const Rule *rule, Pcg64 *rng) {
    double u = uniform(rng), total = 0.0;
    int64_t last = 0;
    for (int64_t i = 0; i < p->n_obj; i++)
        if (rule->weights[i] > 0.0) {
            last = i;
            total += rule->weights[i];
            if (u < total) return i;
        }
    return last;
}

static inline int64_t choose_maxright(const Problem *p, const Rule *rule, const double *theta, Work *w) {
    int64_t chosen = 0;
    if (w->t % rule->k == 0)
        for (int64_t i = 0; i < p->n_obj; i++)
            w->gaps[i] = objective(p, i, theta, w->z, 1.0, NULL, 1) - rule->f_star[i];
    for (int64_t i = 1; i < p->n_obj; i++)
        if (rule->weights[i] > 0.0 &&
            (rule->weights[chosen] == 0.0 || rule->weights[i] * w->gaps[i] > rule->weights[chosen] * w->gaps[chosen]))
            chosen = i;
    return chosen;
}

/* theta and counts are changed in place; returns the updates done, or -1 if theta left the range of doubles.
 * optimizer: NULL is SGD. Its memory is reset where Sequential's stage changes. */
int64_t run(const Problem *p, const Rule *rule, const Optimizer *optimizer, double alpha, double weight_decay, double *theta, int64_t steps,
            int stochastic, Pcg64 *rng, int64_t *counts) {
    int64_t d = p->dim;
    size_t number = sizeof(double);
    Work w = {malloc(p->widest * number), malloc(d * number), malloc(p->n_obj * number), 0, 0, 0};
    double *memory = calloc(2 * d + 3, number);
    for (; w.t < steps; w.t++, w.done++) {
        int64_t index = -1;
        if (rule->kind == SEQUENTIAL) {
            int64_t stage = w.stage;
            index = choose_sequential(p, rule, theta, &w);
            if (index < 0) break;
            if (optimizer && w.stage != stage) memset(memory, 0, (2 * d + 3) * number);
        } else if (rule->kind == ALRIGHT) {
            index = choose_alright(p, rule, rng);
        } else if (rule->kind == MAXRIGHT) {
            index = choose_maxright(p, rule, theta, &w);
        }
        for (int64_t j = 0; j < d; j++) w.g[j] = 0.0;
        int64_t first = index < 0 ? 0 : index, last = index < 0 ? p->n_obj : index + 1;
        for (int64_t i = first; i < last; i++) {
            double scale = index < 0 ? rule->weights[i] : 1.0;
            /* An update of a stale gap needs the chosen objective's value; a fresh gap has it already. */
            int stale = rule->kind == MAXRIGHT && w.t % rule->k != 0;
            double value = 0.0;
            if (stochastic) {
                int64_t n = pick(rng, p->data[i], p->data[i + 1]);
                datum(p, n, p->origins + i * d, theta, w.z, scale, w.g, 0);
                if (stale) value = objective(p, i, theta, w.z, 1.0, NULL, 1);
            } else {
                value = objective(p, i, theta, w.z, scale, w.g, stale);
            }
            if (stale) w.gaps[i] = value - rule->f_star[i];
        }
        if (index >= 0) counts[index]++;
        double size = 0.0;
        if (optimizer) {
            size = move(optimizer, memory, d, alpha, weight_decay, w.g, theta);
        } else {
            for (int64_t j = 0; j < d; j++) {
                theta[j] -= alpha * (w.g[j] + weight_decay * theta[j]);
                size += fabs(theta[j]);
            }
        }
        if (!(size < INFINITY)) {
            w.t = -1;
            break;
        }
    }
    free(w.z), free(w.g), free(w.gaps), free(memory);
    return w.t;
}
