/* Faults on the way from a model file to logits. */
#include "scenario.h"

const struct scenario model_scenarios[] = {{0}};
const size_t n_model_scenarios = 0;
