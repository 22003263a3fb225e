/* NumPy's PCG64: a 128-bit congruential generator, output XSL-RR (O'Neill, 2014), and a double in [0, 1) from it. */
#include <stdint.h>

typedef struct {
    unsigned __int128 state, increment;
} Pcg64;

static inline double uniform(Pcg64 *rng) {
    const unsigned __int128 multiplier =
        ((unsigned __int128)2549297995355413924ULL << 64) | 4865540595714422341ULL;
    rng->state = rng->state * multiplier + rng->increment;
    uint64_t x = (uint64_t)(rng->state >> 64) ^ (uint64_t)rng->state;
    unsigned turn = (unsigned)(rng->state >> 122);
    x = (x >> turn) | (x << ((64 - turn) & 63));
    return (double)(x >> 11) * (1.0 / 9007199254740992.0);
}
