/* How many standard deviations a value lies from its entity's running mean; six are anomalous. */
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name))) name
#define ARRAY(type, name, length) _Alignas(8) static type name[length]

enum { ROWS = 65536, FIELDS = 4, WARM_UP = 20 };
static const double LIMIT = 6, SLOWEST = 1.0 / 256, SCORE_MAX = 1000, INPUT_MAX = 1e15;

/* All zero is an entity never seen. */
struct state { double seen, latest_ms; struct past { double seen, mean, variance; } fields[FIELDS]; };

ARRAY(double, times, ROWS);
ARRAY(uint32_t, entities, ROWS);
ARRAY(double, inputs, ROWS * FIELDS);
ARRAY(struct state, states, ROWS);
ARRAY(double, scores, ROWS);
ARRAY(uint32_t, verdicts, ROWS);
ARRAY(float, attributions, ROWS * (FIELDS + 1));
static const void *const layout[10] = { (void *)FIELDS, (void *)sizeof(struct state), times, entities,
                                        inputs, states, scores, verdicts, attributions };

int32_t EXPORT(twinge_abi)(void) { return 1; }

const void *EXPORT(twinge_prepare)(uint32_t rows, uint32_t count) { return rows > ROWS || count > ROWS ? 0 : layout; }

static uint32_t score_row(const double *input, double time, struct state *state, double *score, float *parts, int all) {
    int late = state->seen > 0 && time < state->latest_ms, any = 0, largest = 0;
    struct state next = *state;
    *score = 0;
    for (int field = 0; field <= FIELDS; field++) parts[field] = 0;
    for (int field = 0; field < FIELDS; field++) {
        if (!(__builtin_fabs(input[field]) <= INPUT_MAX)) continue; /* missing, or its square may be infinite */
        struct past *past = &next.fields[field];
        double distance = input[field] - past->mean, deviation = __builtin_sqrt(past->variance), found = 0;
        if (past->seen >= WARM_UP && distance != 0) found = __builtin_fabs(distance) / (LIMIT * deviation);
        if (found > SCORE_MAX) found = SCORE_MAX; /* infinite where all values before were the same */
        if (found > *score) *score = found, largest = field;
        double gain = 1 / (past->seen += 1);
        if (gain < SLOWEST) gain = SLOWEST; /* what is old fades, so that a slow change is no anomaly */
        past->mean += gain * distance;
        past->variance = (1 - gain) * (past->variance + gain * distance * distance);
        any = 1;
    }
    if (!any) return 3;
    uint32_t outcome = state->seen < WARM_UP ? 2 : *score >= 1;
    if (all || outcome == 1) parts[largest] = (float)*score;
    if (!late) next.seen += 1, next.latest_ms = time, *state = next;
    return outcome | (late ? 256 : 0);
}

int32_t EXPORT(twinge_score)(uint32_t rows, uint32_t count, uint32_t flags) {
    if (rows > ROWS || count > ROWS) return 1;
    for (uint32_t row = 0; row < rows; row++) if (entities[row] >= count) return 2;
    for (uint32_t row = 0; row < rows; row++)
        verdicts[row] = score_row(&inputs[row * FIELDS], times[row], &states[entities[row]], &scores[row],
                                  &attributions[row * (FIELDS + 1)], flags & 1);
    return 0;
}
