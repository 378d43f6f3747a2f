// The whole tuner in one include.
#pragma once

#include <levin/tune/distribution.h>
#include <levin/tune/pruners/hyperband.h>
#include <levin/tune/pruners/metric.h>
#include <levin/tune/pruners/patient.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/pruners/pruner.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/pruners/threshold.h>
#include <levin/tune/pruners/wilcoxon.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/sampler.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/space.h>
#include <levin/tune/storage/storage.h>
#include <levin/tune/study.h>
#include <levin/tune/trial.h>
