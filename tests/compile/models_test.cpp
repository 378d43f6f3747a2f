// Every family of torch::nn, compiled against eager: one step from the same state.
#include "compile/agreement.h"

namespace compile_test {
namespace {

using Cases = std::vector<Case>;

void add_dense(Cases& all) {
  all.push_back(layer("Linear", {7}, [] { return nn::Linear(7, 5); }));
  all.push_back(layer("Linear without bias", {7}, [] { return nn::Linear(nn::LinearOptions(7, 5).bias(false)); }));
  all.push_back(layer("Linear 1 to 1", {1}, [] { return nn::Linear(1, 1); }));
  all.push_back(layer("Linear over a sequence", {4, 7}, [] { return nn::Linear(7, 5); }));
  all.push_back(layer("Linear over four dimensions", {2, 3, 6}, [] { return nn::Linear(6, 1); }));
  all.push_back(layer("Identity", {3}, [] { return nn::Sequential(nn::Identity(), nn::Linear(3, 2)); }));
  all.push_back(layer("Flatten Unflatten", {2, 6}, [] {
    return nn::Sequential(nn::Flatten(), nn::Linear(12, 8), nn::Unflatten(nn::UnflattenOptions(1, {2, 4})), nn::Tanh());
  }));
  for (const bool bias : {true, false}) {
    all.push_back({.name = bias ? "Bilinear" : "Bilinear without bias",
                   .make =
                       [bias] {
                         nn::Bilinear module(nn::BilinearOptions(4, 3, 5).bias(bias));
                         return Subject{module.ptr(), [module](const levin::Batch& batch) mutable {
                                          return score(module->forward(batch[0], batch[1]));
                                        }};
                       },
                   .batch =
                       [](std::int64_t rows) {
                         return std::vector<Tensor>{torch::randn({rows, 4}), torch::randn({rows, 3})};
                       }});
  }
}

void add_convolutions(Cases& all) {
  const auto conv1 = [](nn::Conv1dOptions options) { return [options] { return nn::Conv1d(options); }; };
  const auto conv2 = [](nn::Conv2dOptions options) { return [options] { return nn::Conv2d(options); }; };
  const auto conv3 = [](nn::Conv3dOptions options) { return [options] { return nn::Conv3d(options); }; };
  all.push_back(layer("Conv1d", {3, 9}, conv1({3, 4, 3})));
  all.push_back(layer("Conv1d stride padding dilation", {4, 11},
                      conv1(nn::Conv1dOptions(4, 6, 3).stride(2).padding(2).dilation(2).groups(2))));
  all.push_back(
      layer("Conv1d circular", {2, 9}, conv1(nn::Conv1dOptions(2, 3, 3).padding(1).padding_mode(torch::kCircular))));
  all.push_back(layer("Conv1d same", {2, 9}, conv1(nn::Conv1dOptions(2, 3, 4).padding(torch::kSame))));
  all.push_back(layer("Conv2d", {3, 8, 7}, conv2({3, 4, 3})));
  all.push_back(layer("Conv2d one channel", {1, 8, 8}, conv2(nn::Conv2dOptions(1, 8, 3).padding(1))));
  all.push_back(layer("Conv2d 5x5 padding", {2, 9, 9}, conv2(nn::Conv2dOptions(2, 5, 5).padding(2))));
  all.push_back(layer("Conv2d 1x1 without bias", {4, 5, 5}, conv2(nn::Conv2dOptions(4, 3, 1).bias(false))));
  all.push_back(layer("Conv2d stride", {3, 9, 8}, conv2(nn::Conv2dOptions(3, 4, 3).stride({2, 1}).padding({1, 0}))));
  all.push_back(layer("Conv2d dilation", {3, 9, 9}, conv2(nn::Conv2dOptions(3, 4, 3).dilation(2).padding(2))));
  all.push_back(layer("Conv2d groups", {4, 8, 8}, conv2(nn::Conv2dOptions(4, 6, 3).groups(2))));
  all.push_back(layer("Conv2d depthwise", {4, 8, 8}, conv2(nn::Conv2dOptions(4, 4, 3).groups(4).padding(1))));
  all.push_back(
      layer("Conv2d circular", {2, 7, 7}, conv2(nn::Conv2dOptions(2, 3, 3).padding(1).padding_mode(torch::kCircular))));
  all.push_back(
      layer("Conv2d reflect", {2, 7, 7}, conv2(nn::Conv2dOptions(2, 3, 3).padding(1).padding_mode(torch::kReflect))));
  all.push_back(layer("Conv2d replicate", {2, 7, 7},
                      conv2(nn::Conv2dOptions(2, 3, 3).padding(1).padding_mode(torch::kReplicate))));
  all.push_back(layer("Conv2d same", {2, 8, 7}, conv2(nn::Conv2dOptions(2, 3, {3, 4}).padding(torch::kSame))));
  all.push_back(layer("Conv3d", {2, 5, 6, 5}, conv3(nn::Conv3dOptions(2, 3, 3).padding(1))));
  all.push_back(layer("Conv3d stride groups", {2, 5, 6, 5}, conv3(nn::Conv3dOptions(2, 4, 3).stride(2).groups(2))));
  all.push_back(layer("ConvTranspose1d", {3, 6}, [] {
    return nn::ConvTranspose1d(nn::ConvTranspose1dOptions(3, 2, 3).stride(2).padding(1).output_padding(1));
  }));
  all.push_back(layer("ConvTranspose2d", {3, 5, 5},
                      [] { return nn::ConvTranspose2d(nn::ConvTranspose2dOptions(3, 4, 3).stride(2).padding(1)); }));
  all.push_back(layer("ConvTranspose2d groups dilation", {4, 5, 5}, [] {
    return nn::ConvTranspose2d(nn::ConvTranspose2dOptions(4, 4, 3).groups(2).dilation(2).bias(false));
  }));
  all.push_back(layer("ConvTranspose3d", {2, 3, 4, 3},
                      [] { return nn::ConvTranspose3d(nn::ConvTranspose3dOptions(2, 2, 2).stride(2)); }));
  all.push_back(layer("Unfold", {2, 6, 6}, [] { return nn::Unfold(nn::UnfoldOptions(3).padding(1).stride(2)); }));
  all.push_back(layer("Fold", {8, 9}, [] { return nn::Fold(nn::FoldOptions({4, 4}, {2, 2})); }));
}

void add_pools(Cases& all) {
  all.push_back(layer("MaxPool1d", {3, 9}, [] { return nn::MaxPool1d(nn::MaxPool1dOptions(3).stride(2).padding(1)); }));
  all.push_back(layer("MaxPool2d", {3, 8, 8}, [] { return nn::MaxPool2d(2); }));
  all.push_back(layer("MaxPool2d overlapping", {3, 9, 8},
                      [] { return nn::MaxPool2d(nn::MaxPool2dOptions(3).stride(2).padding(1)); }));
  all.push_back(layer("MaxPool2d dilated ceil", {3, 9, 9},
                      [] { return nn::MaxPool2d(nn::MaxPool2dOptions(2).stride(2).dilation(2).ceil_mode(true)); }));
  all.push_back(layer("MaxPool3d", {2, 4, 6, 4}, [] { return nn::MaxPool3d(2); }));
  all.push_back(layer("AvgPool1d", {3, 9}, [] { return nn::AvgPool1d(nn::AvgPool1dOptions(3).stride(2).padding(1)); }));
  all.push_back(layer("AvgPool2d", {3, 8, 8}, [] { return nn::AvgPool2d(2); }));
  all.push_back(layer("AvgPool2d without padding in the count", {3, 9, 9}, [] {
    return nn::AvgPool2d(nn::AvgPool2dOptions(3).stride(2).padding(1).count_include_pad(false).ceil_mode(true));
  }));
  all.push_back(layer("AvgPool3d", {2, 4, 6, 4}, [] { return nn::AvgPool3d(2); }));
  all.push_back(layer("AdaptiveAvgPool1d", {3, 9}, [] { return nn::AdaptiveAvgPool1d(4); }));
  all.push_back(layer("AdaptiveAvgPool2d", {3, 7, 8}, [] {
    return nn::AdaptiveAvgPool2d(nn::AdaptiveAvgPool2dOptions({3, 2}));
  }));
  all.push_back(layer("AdaptiveAvgPool2d to one", {3, 7, 8}, [] { return nn::AdaptiveAvgPool2d(1); }));
  all.push_back(layer("AdaptiveAvgPool3d", {2, 4, 5, 6}, [] { return nn::AdaptiveAvgPool3d(2); }));
  all.push_back(layer("AdaptiveMaxPool1d", {3, 9}, [] { return nn::AdaptiveMaxPool1d(4); }));
  all.push_back(layer("AdaptiveMaxPool2d", {3, 7, 8}, [] {
    return nn::AdaptiveMaxPool2d(nn::AdaptiveMaxPool2dOptions({3, 2}));
  }));
  all.push_back(layer("AdaptiveMaxPool3d", {2, 4, 5, 6}, [] { return nn::AdaptiveMaxPool3d(2); }));
  all.push_back(layer("FractionalMaxPool2d", {3, 9, 9},
                      [] { return nn::FractionalMaxPool2d(nn::FractionalMaxPool2dOptions(2).output_size(5)); }));
  all.push_back(layer("FractionalMaxPool3d", {2, 7, 7, 7},
                      [] { return nn::FractionalMaxPool3d(nn::FractionalMaxPool3dOptions(2).output_size(3)); }));
  all.push_back(layer("LPPool1d", {3, 8}, [] { return nn::LPPool1d(nn::LPPool1dOptions(2, 2)); }));
  all.push_back(layer("LPPool2d", {3, 8, 8}, [] { return nn::LPPool2d(nn::LPPool2dOptions(2, 2)); }));
  all.push_back(layer("LPPool3d", {2, 4, 4, 4}, [] { return nn::LPPool3d(nn::LPPool3dOptions(2, 2)); }));
  all.push_back(function("MaxUnpool1d", {3, 8}, [](const Tensor& x, const levin::Batch&) {
    auto [out, indices] = nn::MaxPool1d(2)->forward_with_indices(x);
    return nn::MaxUnpool1d(2)->forward(out, indices);
  }));
  all.push_back(function("MaxUnpool2d", {3, 8, 8}, [](const Tensor& x, const levin::Batch&) {
    auto [out, indices] = nn::MaxPool2d(2)->forward_with_indices(x);
    return nn::MaxUnpool2d(2)->forward(out, indices);
  }));
}

void add_norms(Cases& all) {
  all.push_back(layer("BatchNorm1d", {6}, [] { return nn::BatchNorm1d(6); }));
  all.push_back(layer("BatchNorm1d over a sequence", {6, 4}, [] { return nn::BatchNorm1d(6); }));
  all.push_back(
      layer("BatchNorm1d not affine", {6}, [] { return nn::BatchNorm1d(nn::BatchNorm1dOptions(6).affine(false)); }));
  all.push_back(layer("BatchNorm1d without running statistics", {6},
                      [] { return nn::BatchNorm1d(nn::BatchNorm1dOptions(6).track_running_stats(false)); }));
  all.push_back(layer("BatchNorm1d momentum", {6},
                      [] { return nn::BatchNorm1d(nn::BatchNorm1dOptions(6).momentum(0.3).eps(1e-3)); }));
  all.push_back(layer("BatchNorm2d", {4, 5, 6}, [] { return nn::BatchNorm2d(4); }));
  all.push_back(layer("BatchNorm3d", {3, 3, 4, 2}, [] { return nn::BatchNorm3d(3); }));
  all.push_back(layer("LayerNorm", {7}, [] { return nn::LayerNorm(nn::LayerNormOptions({7})); }));
  all.push_back(layer("LayerNorm of two dimensions", {3, 4, 5}, [] {
    return nn::LayerNorm(nn::LayerNormOptions({4, 5}));
  }));
  all.push_back(layer("LayerNorm not affine", {4, 6},
                      [] { return nn::LayerNorm(nn::LayerNormOptions({6}).elementwise_affine(false)); }));
  all.push_back(layer("GroupNorm", {6, 4, 3}, [] { return nn::GroupNorm(2, 6); }));
  all.push_back(
      layer("GroupNorm not affine", {6, 3}, [] { return nn::GroupNorm(nn::GroupNormOptions(3, 6).affine(false)); }));
  all.push_back(layer("InstanceNorm1d", {4, 7}, [] { return nn::InstanceNorm1d(4); }));
  all.push_back(layer("InstanceNorm2d affine tracking", {4, 5, 5}, [] {
    return nn::InstanceNorm2d(nn::InstanceNorm2dOptions(4).affine(true).track_running_stats(true));
  }));
  all.push_back(layer("InstanceNorm3d", {2, 3, 4, 3}, [] { return nn::InstanceNorm3d(2); }));
  all.push_back(layer("LocalResponseNorm", {6, 4, 4},
                      [] { return nn::LocalResponseNorm(nn::LocalResponseNormOptions(3).alpha(0.1)); }));
  // Written with resize_as_ into empty tensors.
  all.push_back(layer(
      "CrossMapLRN2d", {6, 4, 4}, [] { return nn::CrossMapLRN2d(nn::CrossMapLRN2dOptions(3)); },
      "changes a tensor's memory"));
}

void add_activations(Cases& all) {
  const auto add = [&](std::string name, auto make) { all.push_back(layer(std::move(name), {3, 4}, make)); };
  add("ELU", [] { return nn::ELU(nn::ELUOptions().alpha(0.7)); });
  add("SELU", [] { return nn::SELU(); });
  add("CELU", [] { return nn::CELU(nn::CELUOptions().alpha(1.3)); });
  add("Hardshrink", [] { return nn::Hardshrink(); });
  add("Softshrink", [] { return nn::Softshrink(); });
  add("Tanhshrink", [] { return nn::Tanhshrink(); });
  add("Hardtanh", [] { return nn::Hardtanh(nn::HardtanhOptions().min_val(-0.4).max_val(0.6)); });
  add("LeakyReLU", [] { return nn::LeakyReLU(nn::LeakyReLUOptions().negative_slope(0.2)); });
  add("LogSigmoid", [] { return nn::LogSigmoid(); });
  add("Softmax", [] { return nn::Softmax(-1); });
  add("Softmax over dim 1", [] { return nn::Softmax(1); });
  add("Softmin", [] { return nn::Softmin(-1); });
  add("LogSoftmax", [] { return nn::LogSoftmax(-1); });
  add("LogSoftmax over dim 1", [] { return nn::LogSoftmax(1); });
  add("PReLU", [] { return nn::PReLU(); });
  add("PReLU a channel", [] { return nn::PReLU(nn::PReLUOptions().num_parameters(3)); });
  add("ReLU", [] { return nn::ReLU(); });
  add("ReLU in place", [] { return nn::ReLU(nn::ReLUOptions(true)); });
  add("ReLU6", [] { return nn::ReLU6(); });
  add("RReLU", [] { return nn::RReLU(); });
  add("GLU", [] { return nn::GLU(); });
  add("GELU", [] { return nn::GELU(); });
  add("GELU tanh", [] { return nn::GELU(nn::GELUOptions().approximate("tanh")); });
  add("SiLU", [] { return nn::SiLU(); });
  add("Mish", [] { return nn::Mish(); });
  add("Sigmoid", [] { return nn::Sigmoid(); });
  add("Softplus", [] { return nn::Softplus(nn::SoftplusOptions().beta(2).threshold(1.5)); });
  add("Softsign", [] { return nn::Softsign(); });
  add("Tanh", [] { return nn::Tanh(); });
  add("Threshold", [] { return nn::Threshold(0.1, -0.3); });
  add("Threshold in place", [] { return nn::Threshold(nn::ThresholdOptions(0.1, -0.3).inplace(true)); });
  add("ELU in place", [] { return nn::ELU(nn::ELUOptions().inplace(true)); });
  add("LeakyReLU in place", [] { return nn::LeakyReLU(nn::LeakyReLUOptions().inplace(true)); });
  add("Hardtanh in place", [] { return nn::Hardtanh(nn::HardtanhOptions().inplace(true)); });
  all.push_back(layer("Softmax2d", {3, 4, 4}, [] { return nn::Softmax2d(); }));
  const auto call = [&](std::string name, Tensor (*f)(const Tensor&), std::string eager_because = {}) {
    all.push_back(function(
        std::move(name), {3, 4}, [f](const Tensor& x, const levin::Batch&) { return f(x); }, {},
        std::move(eager_because)));
  };
  // Backward asks the host where zeros, or largest elements, are.
  const std::string reads = "read by the host";
  call("hardswish", &torch::hardswish);
  call("hardsigmoid", &torch::hardsigmoid);
  call("sin", &torch::sin);
  call("cos", &torch::cos);
  call("exp", &torch::exp);
  call("expm1", &torch::expm1);
  call("erf", &torch::erf);
  call("abs", &torch::abs);
  call("square", &torch::square);
  call("neg", &torch::neg);
  call("atan", &torch::atan);
  call("sigmoid twice", [](const Tensor& x) { return x.sigmoid().sigmoid(); });
  call("log1p of a square", [](const Tensor& x) { return x.square().log1p(); });
  call("rsqrt", [](const Tensor& x) { return (x.square() + 1).rsqrt(); });
  call("sqrt", [](const Tensor& x) { return (x.square() + 1).sqrt(); });
  call("reciprocal", [](const Tensor& x) { return (x.square() + 1).reciprocal(); });
  call("log", [](const Tensor& x) { return (x.abs() + 0.1).log(); });
  call("pow", [](const Tensor& x) { return (x.abs() + 0.1).pow(1.7); });
  call("pow 3", [](const Tensor& x) { return x.pow(3); });
  call("pow of a scalar", [](const Tensor& x) { return torch::pow(1.5, x); });
  call("clamp", [](const Tensor& x) { return x.clamp(-0.5, 0.7); });
  call("clamp from below", [](const Tensor& x) { return x.clamp_min(0.2); });
  call("maximum", [](const Tensor& x) { return torch::maximum(x, -0.3 * x); });
  call("minimum with a mean", [](const Tensor& x) { return torch::minimum(x, x.mean(0, true)); });
  call("where", [](const Tensor& x) { return torch::where(x > 0.2, x * 2, x.exp()); });
  call("masked_fill", [](const Tensor& x) { return x.masked_fill(x < -0.5, -0.5); });
  call("logsumexp", [](const Tensor& x) { return x.logsumexp(-1); });
  call("logsumexp over dim 1", [](const Tensor& x) { return x.logsumexp(1, true); });
  call("cumsum", [](const Tensor& x) { return x.cumsum(-1); });
  call(
      "cumprod", [](const Tensor& x) { return (x + 2).cumprod(-1); }, reads);
  call(
      "prod", [](const Tensor& x) { return x.prod(-1); }, reads);
  call("std", [](const Tensor& x) { return x.std(-1, /*unbiased=*/true, /*keepdim=*/true); });
  call("var over all", [](const Tensor& x) { return x.var(); });
  call("norm", [](const Tensor& x) { return x.norm(2, -1); });
  call("max over dim", [](const Tensor& x) { return std::get<0>(x.max(1)); });
  call("amax", [](const Tensor& x) { return x.amax({0, 2}); });
  call(
      "max over all", [](const Tensor& x) { return x.max() * x; }, reads);
  call("median", [](const Tensor& x) { return std::get<0>(x.median(-1)); });
  call("topk", [](const Tensor& x) { return std::get<0>(x.topk(2)); });
  call("sort", [](const Tensor& x) { return std::get<0>(x.sort(-1)); });
}

void add_dropouts(Cases& all) {
  all.push_back(layer("Dropout", {4, 9}, [] { return nn::Dropout(0.3); }));
  all.push_back(layer("Dropout in place", {9}, [] {
    return nn::Sequential(nn::Linear(9, 9), nn::Dropout(nn::DropoutOptions(0.3).inplace(true)));
  }));
  all.push_back(layer("Dropout 0", {9}, [] { return nn::Dropout(0.0); }));
  all.push_back(
      layer("Dropout 1", {9}, [] { return nn::Sequential(nn::Linear(9, 5), nn::Dropout(1.0), nn::Linear(5, 3)); }));
  all.push_back(layer("Dropout2d", {4, 3, 3}, [] { return nn::Dropout2d(0.3); }));
  all.push_back(layer("Dropout3d", {4, 3, 2, 2}, [] { return nn::Dropout3d(0.3); }));
  all.push_back(layer("AlphaDropout", {9}, [] { return nn::AlphaDropout(0.3); }));
  all.push_back(layer("FeatureAlphaDropout", {4, 9}, [] { return nn::FeatureAlphaDropout(0.3); }));
  all.push_back(layer("two Dropouts", {9}, [] {
    return nn::Sequential(nn::Linear(9, 16), nn::ReLU(), nn::Dropout(0.5), nn::Linear(16, 16), nn::ReLU(),
                          nn::Dropout(0.2), nn::Linear(16, 2));
  }));
  all.push_back(function("noise on the input", {6}, [](const Tensor& x, const levin::Batch&) {
    return x + 0.1 * torch::randn_like(x) + torch::rand({6}) * x;
  }));
  all.push_back(function("drawn permutation", {6}, [](const Tensor& x, const levin::Batch&) {
    return x.index_select(0, torch::randperm(x.size(0))) * x;
  }));
}

void add_shapes(Cases& all) {
  all.push_back(layer("PixelShuffle", {8, 3, 3}, [] { return nn::PixelShuffle(2); }));
  all.push_back(layer("PixelUnshuffle", {2, 4, 4}, [] { return nn::PixelUnshuffle(2); }));
  all.push_back(layer("Upsample nearest", {2, 3, 4}, [] {
    return nn::Upsample(nn::UpsampleOptions().scale_factor(std::vector<double>{2.0, 3.0}));
  }));
  all.push_back(layer("Upsample nearest 2d", {2, 3, 4}, [] {
    return nn::Upsample(nn::UpsampleOptions().size(std::vector<std::int64_t>{5, 7}).mode(torch::kNearest));
  }));
  all.push_back(layer("Upsample linear", {2, 5}, [] {
    return nn::Upsample(
        nn::UpsampleOptions().scale_factor(std::vector<double>{2.0}).mode(torch::kLinear).align_corners(false));
  }));
  all.push_back(layer("Upsample bilinear", {2, 4, 4}, [] {
    return nn::Upsample(
        nn::UpsampleOptions().scale_factor(std::vector<double>{2.0, 1.5}).mode(torch::kBilinear).align_corners(true));
  }));
  all.push_back(layer("Upsample bicubic", {2, 4, 4}, [] {
    return nn::Upsample(
        nn::UpsampleOptions().scale_factor(std::vector<double>{2.0, 2.0}).mode(torch::kBicubic).align_corners(false));
  }));
  all.push_back(layer("Upsample trilinear", {2, 3, 3, 3}, [] {
    return nn::Upsample(nn::UpsampleOptions()
                            .scale_factor(std::vector<double>{2.0, 2.0, 2.0})
                            .mode(torch::kTrilinear)
                            .align_corners(false));
  }));
  all.push_back(layer("ReflectionPad1d", {2, 5}, [] { return nn::ReflectionPad1d(2); }));
  all.push_back(layer("ReflectionPad2d", {2, 5, 5}, [] { return nn::ReflectionPad2d(2); }));
  all.push_back(layer("ReflectionPad3d", {2, 4, 4, 4}, [] { return nn::ReflectionPad3d(1); }));
  all.push_back(layer("ReplicationPad1d", {2, 5}, [] { return nn::ReplicationPad1d(2); }));
  all.push_back(layer("ReplicationPad2d", {2, 5, 5}, [] {
    return nn::ReplicationPad2d(nn::ReplicationPad2dOptions({1, 2, 0, 3}));
  }));
  all.push_back(layer("ReplicationPad3d", {2, 4, 4, 4}, [] { return nn::ReplicationPad3d(1); }));
  all.push_back(layer("ZeroPad1d", {2, 5}, [] { return nn::ZeroPad1d(2); }));
  all.push_back(layer("ZeroPad2d", {2, 5, 5}, [] { return nn::ZeroPad2d(nn::ZeroPad2dOptions({1, -1, 2, 0})); }));
  all.push_back(layer("ZeroPad3d", {2, 3, 3, 3}, [] { return nn::ZeroPad3d(1); }));
  all.push_back(layer("ConstantPad1d", {2, 5}, [] { return nn::ConstantPad1d(2, 0.5); }));
  all.push_back(layer("ConstantPad2d", {2, 5, 5}, [] { return nn::ConstantPad2d(1, -0.5); }));
  all.push_back(layer("ConstantPad3d", {2, 3, 3, 3}, [] { return nn::ConstantPad3d(1, 0.5); }));
  const auto call = [&](std::string name, std::vector<std::int64_t> shape, Tensor (*f)(const Tensor&)) {
    all.push_back(
        function(std::move(name), std::move(shape), [f](const Tensor& x, const levin::Batch&) { return f(x); }));
  };
  call("transpose and reshape", {3, 4}, [](const Tensor& x) {
    return x.transpose(1, 2).reshape({x.size(0), 12}).tanh();
  });
  call("permute contiguous", {3, 4, 2}, [](const Tensor& x) { return x.permute({0, 3, 1, 2}).contiguous().tanh(); });
  call("narrow and slice with steps", {9}, [](const Tensor& x) {
    return x.narrow(1, 2, 6) * x.slice(1, 0, 9, 2).repeat({1, 2}).narrow(1, 1, 6);
  });
  call("unsqueeze and expand", {4}, [](const Tensor& x) {
    return x.unsqueeze(1).expand({-1, 3, -1}) * x.unsqueeze(2).narrow(2, 0, 1).narrow(1, 0, 3);
  });
  call("chunk and cat", {8}, [](const Tensor& x) {
    auto parts = x.chunk(3, 1);
    return torch::cat({parts[2], parts[0].exp(), parts[1]}, 1);
  });
  call("split and stack", {8}, [](const Tensor& x) {
    auto parts = x.split(2, 1);
    return torch::stack({parts[0], parts[3], parts[0] * parts[1]}, 1);
  });
  call("unbind", {3, 4}, [](const Tensor& x) {
    auto parts = x.unbind(1);
    return parts[0] * parts[1] + parts[2];
  });
  call("flip and roll", {6}, [](const Tensor& x) { return x.flip({1}) * x.roll(2, 1); });
  call("tril", {4, 4}, [](const Tensor& x) { return x.tril() + x.triu(1).tanh(); });
  call("diagonal", {4, 4}, [](const Tensor& x) { return x.diagonal(0, 1, 2) * x.sum(2); });
  call("einsum", {3, 4}, [](const Tensor& x) { return torch::einsum("bij,bkj->bik", {x, x.tanh()}); });
  call("matmul by batches", {3, 4}, [](const Tensor& x) { return x.matmul(x.transpose(1, 2)); });
  call("matmul with a vector", {3, 4}, [](const Tensor& x) { return x.matmul(x.sum({0, 1})); });
  call("bmm", {3, 4}, [](const Tensor& x) { return torch::bmm(x, x.transpose(1, 2).contiguous()); });
  call("baddbmm", {3, 3}, [](const Tensor& x) { return torch::baddbmm(x, x, x, 0.5, 2); });
  call("outer", {4}, [](const Tensor& x) { return torch::outer(x.flatten(), x.sum(1)); });
  call("cdist", {3, 4}, [](const Tensor& x) { return torch::cdist(x, x.tanh() + 3); });
  call("addcmul and lerp", {5},
       [](const Tensor& x) { return torch::addcmul(x, x, x.tanh(), 0.3) + torch::lerp(x, x.exp(), 0.2); });
  call("views written in place", {6}, [](const Tensor& x) {
    Tensor y = x * 2;
    y.narrow(1, 0, 3).mul_(3);
    y.select(1, 5).zero_();
    y.narrow(1, 2, 2).add_(x.narrow(1, 0, 2));
    return y.tanh();
  });
  call("zeros filled by views", {6}, [](const Tensor& x) {
    Tensor y = torch::zeros_like(x);
    y.narrow(1, 1, 2).copy_(x.narrow(1, 3, 2));
    y.select(1, 0).copy_(x.select(1, 1) * 2);
    return y * x;
  });
  call("empty filled by views", {6}, [](const Tensor& x) {
    Tensor y = torch::empty_like(x);
    y.narrow(1, 0, 4).copy_(x.narrow(1, 2, 4));
    y.narrow(1, 4, 2).fill_(0.5);
    return y * x;
  });
  call("running sum in place", {6}, [](const Tensor& x) {
    Tensor sum = torch::zeros({x.size(0)}, x.options());
    for (int i = 0; i < 6; ++i) sum += x.select(1, i) * (i + 1);
    return sum;
  });
  call("copy written afterwards", {6}, [](const Tensor& x) {
    Tensor a = x * 2, b = a.clone();
    a.add_(1);
    b.mul_(3);
    return a * b + x.clone();
  });
  call("double and back", {6}, [](const Tensor& x) { return x.to(torch::kDouble).exp().to(x.scalar_type()) * x; });
  call("channels last", {3, 4, 4},
       [](const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast).tanh() * x; });
  all.push_back(function(
      "index_select, gather, scatter_add", {6},
      [](const Tensor& x, const levin::Batch& batch) {
        const Tensor &rows = batch[1], &columns = batch[2];
        return x.index_select(0, rows) * x.gather(1, columns) + x.scatter_add(1, columns, x.exp());
      },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randint(rows, {rows}, torch::kLong),
                                   torch::randint(6, {rows, 6}, torch::kLong)};
      }));
  all.push_back(function(
      "index by tensors", {6},
      [](const Tensor& x, const levin::Batch& batch) {
        return x.index({batch[1], batch[2]}) * x.index({batch[1]}).sum(1);
      },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randint(rows, {rows}, torch::kLong), torch::randint(6, {rows}, torch::kLong)};
      }));
  all.push_back(function(
      "index_put and index_add", {6},
      [](const Tensor& x, const levin::Batch& batch) {
        Tensor y = x * 1.5;
        y.index_put_({batch[1]}, x.exp(), /*accumulate=*/true);
        return y.index_add(0, batch[1], x.tanh());
      },
      [](std::int64_t rows) { return std::vector<Tensor>{torch::randint(rows, {rows}, torch::kLong)}; }));
  all.push_back(function(
      "a mask in the batch", {6},
      [](const Tensor& x, const levin::Batch& batch) {
        return (x.masked_fill(batch[1], 0) * 2).sum(1) + x.where(batch[1], x.exp()).mean(1);
      },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::rand({rows, 6}) < 0.4};
      }));
  all.push_back(function(
      "bytes in the batch", {6},
      [](const Tensor& x, const levin::Batch& batch) { return x * (batch[1].to(x.scalar_type()) / 255) + batch[1]; },
      [](std::int64_t rows) {
        return std::vector<Tensor>{torch::randint(256, {rows, 6}, torch::kByte)};
      }));
}

void add_distances(Cases& all) {
  const auto pair = [&](std::string name, auto make) {
    all.push_back(function(
        std::move(name), {6},
        [make](const Tensor& x, const levin::Batch& batch) { return make()->forward(x, batch[1]); },
        [](std::int64_t rows) {
          return std::vector<Tensor>{torch::randn({rows, 6})};
        }));
  };
  pair("CosineSimilarity", [] { return nn::CosineSimilarity(nn::CosineSimilarityOptions().dim(1)); });
  pair("PairwiseDistance", [] { return nn::PairwiseDistance(nn::PairwiseDistanceOptions().p(2)); });
}

void add_embeddings(Cases& all) {
  const auto ids = [](std::int64_t rows) { return std::vector<Tensor>{torch::randint(7, {rows, 4}, torch::kLong)}; };
  const auto embedding = [&](std::string name, nn::EmbeddingOptions options, std::string eager_because = {}) {
    all.push_back({.name = std::move(name),
                   .make =
                       [options] {
                         nn::Sequential net(nn::Embedding(options), nn::Flatten(), nn::Linear(12, 5));
                         return Subject{net.ptr(), [net](const levin::Batch& batch) mutable {
                                          return score(net->forward(batch[0]));
                                        }};
                       },
                   .batch = ids,
                   .eager_because = std::move(eager_because)});
  };
  embedding("Embedding", nn::EmbeddingOptions(7, 3));
  embedding("Embedding padding_idx", nn::EmbeddingOptions(7, 3).padding_idx(2));
  embedding("Embedding scaled by frequency", nn::EmbeddingOptions(7, 3).scale_grad_by_freq(true));
  embedding("Embedding sparse", nn::EmbeddingOptions(7, 3).sparse(true), "sparse");
  embedding("Embedding max_norm", nn::EmbeddingOptions(7, 3).max_norm(0.5));
  for (const auto& [name, mode] : std::vector<std::pair<std::string, nn::EmbeddingBagOptions>>{
           {"EmbeddingBag sum", nn::EmbeddingBagOptions(7, 3).mode(torch::kSum)},
           {"EmbeddingBag mean", nn::EmbeddingBagOptions(7, 3).mode(torch::kMean)},
           {"EmbeddingBag max", nn::EmbeddingBagOptions(7, 3).mode(torch::kMax)}}) {
    all.push_back({.name = name,
                   .make =
                       [options = mode] {
                         nn::EmbeddingBag module(options);
                         return Subject{module.ptr(), [module](const levin::Batch& batch) mutable {
                                          return score(module->forward(batch[0]));
                                        }};
                       },
                   .batch = ids});
  }
  all.push_back({.name = "Embedding tied to the output",
                 .make =
                     [] {
                       nn::Embedding table(7, 3);
                       return Subject{table.ptr(), [table](const levin::Batch& batch) mutable {
                                        const Tensor h = table->forward(batch[0]).sum(1).tanh();
                                        return torch::cross_entropy_loss(h.matmul(table->weight.t()),
                                                                         batch[0].select(1, 0));
                                      }};
                     },
                 .batch = ids});
}

void add_recurrent(Cases& all) {
  const auto recurrent = [&](std::string name, auto make) { all.push_back(layer(std::move(name), {6, 4}, make)); };
  recurrent("RNN tanh", [] { return nn::RNN(nn::RNNOptions(4, 5).batch_first(true)); });
  recurrent("RNN relu", [] { return nn::RNN(nn::RNNOptions(4, 5).batch_first(true).nonlinearity(torch::kReLU)); });
  recurrent("LSTM", [] { return nn::LSTM(nn::LSTMOptions(4, 5).batch_first(true)); });
  recurrent("LSTM time first", [] { return nn::LSTM(nn::LSTMOptions(4, 5)); });
  recurrent("LSTM two layers bidirectional dropout", [] {
    return nn::LSTM(nn::LSTMOptions(4, 5).batch_first(true).num_layers(2).bidirectional(true).dropout(0.3));
  });
  recurrent("LSTM projection", [] { return nn::LSTM(nn::LSTMOptions(4, 5).batch_first(true).proj_size(3)); });
  recurrent("LSTM without bias", [] { return nn::LSTM(nn::LSTMOptions(4, 5).bias(false)); });
  recurrent("GRU", [] { return nn::GRU(nn::GRUOptions(4, 5).batch_first(true)); });
  recurrent("GRU two layers bidirectional dropout", [] {
    return nn::GRU(nn::GRUOptions(4, 5).batch_first(true).num_layers(2).bidirectional(true).dropout(0.3));
  });
  // The lengths of packed sequences are read by the host.
  all.push_back({.name = "LSTM of packed sequences",
                 .make =
                     [] {
                       nn::LSTM lstm(nn::LSTMOptions(4, 5).batch_first(true).num_layers(2).bidirectional(true));
                       return Subject{lstm.ptr(), [lstm](const levin::Batch& batch) mutable {
                                        const auto sequences =
                                            nn::utils::rnn::pack_padded_sequence(batch[0], batch[1], true);
                                        const auto out = std::get<0>(lstm->forward_with_packed_input(sequences));
                                        return score(std::get<0>(nn::utils::rnn::pad_packed_sequence(out, true)));
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6, 4}), torch::arange(6, 6 - rows, -1)};
                     },
                 .eager_because = "read by the host"});
  all.push_back(layer("RNNCell", {4}, [] { return nn::RNNCell(4, 5); }));
  all.push_back(layer("LSTMCell", {4}, [] { return nn::LSTMCell(4, 5); }));
  all.push_back(layer("GRUCell", {4}, [] { return nn::GRUCell(4, 5); }));
}

struct Block : nn::Module {
  Block() {
    norm1 = register_module("norm1", nn::LayerNorm(nn::LayerNormOptions({8})));
    norm2 = register_module("norm2", nn::LayerNorm(nn::LayerNormOptions({8})));
    qkv = register_module("qkv", nn::Linear(8, 24));
    out = register_module("out", nn::Linear(8, 8));
    up = register_module("up", nn::Linear(8, 32));
    down = register_module("down", nn::Linear(32, 8));
  }
  Tensor forward(Tensor x) {
    const auto b = x.size(0), t = x.size(1);
    auto parts = qkv(norm1(x)).view({b, t, 3, 2, 4}).permute({2, 0, 3, 1, 4}).unbind(0);
    const Tensor mixed = torch::scaled_dot_product_attention(parts[0], parts[1], parts[2], {}, 0.0, /*is_causal=*/true);
    x = x + out(mixed.transpose(1, 2).reshape({b, t, 8}));
    return x + down(torch::gelu(up(norm2(x))));
  }
  nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  nn::Linear qkv{nullptr}, out{nullptr}, up{nullptr}, down{nullptr};
};

void add_attention(Cases& all) {
  all.push_back(layer("TransformerEncoderLayer", {6, 8}, [] {
    return nn::TransformerEncoderLayer(nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16).dropout(0.1));
  }));
  all.push_back(layer("TransformerEncoderLayer gelu", {6, 8}, [] {
    return nn::TransformerEncoderLayer(
        nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16).dropout(0).activation(torch::kGELU));
  }));
  all.push_back(layer("TransformerEncoder", {6, 8}, [] {
    return nn::TransformerEncoder(
        nn::TransformerEncoderOptions(nn::TransformerEncoderLayerOptions(8, 2).dim_feedforward(16), 2));
  }));
  all.push_back({.name = "TransformerDecoder",
                 .make =
                     [] {
                       nn::TransformerDecoder module(nn::TransformerDecoderOptions(
                           nn::TransformerDecoderLayerOptions(8, 2).dim_feedforward(16), 2));
                       return Subject{
                           module.ptr(), [module](const levin::Batch& batch) mutable {
                             return score(module->forward(batch[0].transpose(0, 1), batch[1].transpose(0, 1)));
                           }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 5, 8}), torch::randn({rows, 6, 8})};
                     }});
  all.push_back({.name = "MultiheadAttention self",
                 .make =
                     [] {
                       nn::MultiheadAttention module(nn::MultiheadAttentionOptions(8, 2).dropout(0.1));
                       return Subject{module.ptr(), [module](const levin::Batch& batch) mutable {
                                        return score(std::get<0>(module->forward(batch[0], batch[0], batch[0])));
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 5, 8})};
                     }});
  all.push_back({.name = "MultiheadAttention masked, other sizes",
                 .make =
                     [] {
                       nn::MultiheadAttention module(nn::MultiheadAttentionOptions(8, 2).kdim(6).vdim(6));
                       return Subject{module.ptr(), [module](const levin::Batch& batch) mutable {
                                        return score(std::get<0>(module->forward(batch[0].transpose(0, 1),
                                                                                 batch[1].transpose(0, 1),
                                                                                 batch[2].transpose(0, 1), batch[3])));
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       Tensor mask = torch::zeros({rows, 6}, torch::kBool);
                       mask.slice(1, 4, 6).fill_(true);
                       return std::vector<Tensor>{torch::randn({rows, 5, 8}), torch::randn({rows, 6, 6}),
                                                  torch::randn({rows, 6, 6}), mask};
                     }});
  all.push_back({.name = "GPT",
                 .make =
                     [] {
                       auto module = std::make_shared<nn::Module>("GPT");
                       nn::Embedding tokens(11, 8), positions(6, 8);
                       nn::Sequential blocks(Block{}, Block{});
                       nn::Linear head(nn::LinearOptions(8, 11).bias(false));
                       module->register_module("tokens", tokens.ptr());
                       module->register_module("positions", positions.ptr());
                       module->register_module("blocks", blocks.ptr());
                       module->register_module("head", head.ptr());
                       return Subject{module, [=](const levin::Batch& batch) mutable {
                                        Tensor x = tokens(batch[0]) + positions(torch::arange(6));
                                        x = head(blocks->forward(x));
                                        return torch::cross_entropy_loss(x.view({-1, 11}), batch[1].view({-1}));
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randint(11, {rows, 6}, torch::kLong),
                                                  torch::randint(11, {rows, 6}, torch::kLong)};
                     }});
  all.push_back(function("causal mask by hand", {6, 4}, [](const Tensor& x, const levin::Batch&) {
    const Tensor mask = torch::ones({6, 6}, torch::kBool).triu(1);
    return (x.matmul(x.transpose(1, 2)) / 2).masked_fill(mask, -INFINITY).softmax(-1).matmul(x);
  }));
  all.push_back(function(
      "attention with a mask of the batch", {2, 6, 4},
      [](const Tensor& x, const levin::Batch& batch) {
        return torch::scaled_dot_product_attention(x, x.tanh(), x.exp(), batch[1].unsqueeze(1));
      },
      [](std::int64_t rows) {
        return std::vector<Tensor>{(torch::rand({rows, 6, 6}) < 0.8) | torch::eye(6).to(torch::kBool)};
      }));
  const auto masked = [&](const std::string& name, std::function<Tensor(std::int64_t rows)> mask, bool causal = false,
                          double dropout = 0) {
    all.push_back(function(
        "attention, " + name, {2, 6, 4},
        [=](const Tensor& x, const levin::Batch& batch) {
          const auto mask_of_batch = batch.size() > 1 ? std::optional<Tensor>(batch[1]) : std::nullopt;
          return torch::scaled_dot_product_attention(x, x.tanh(), x.exp(), mask_of_batch, dropout, causal);
        },
        [=](std::int64_t rows) { return mask ? std::vector<Tensor>{mask(rows)} : std::vector<Tensor>(); }));
  };
  masked("some queries see nothing", [](std::int64_t rows) { return torch::rand({rows, 2, 6, 6}) < 0.3; });
  masked("padded keys", [](std::int64_t rows) {
    return torch::arange(6).view({1, 1, 1, 6}) < torch::randint(0, 7, {rows, 1, 1, 1});
  });
  masked("mask of all batches", [](std::int64_t) { return torch::randn({6, 6}).tril() - 1e9 * torch::ones({6, 6}).triu(1); });
  masked("mask of each head", [](std::int64_t) { return torch::randn({1, 2, 6, 6}); });
  masked("mask of queries", [](std::int64_t) { return torch::randn({6, 1}).expand({6, 6}); });
  masked("dropout", {}, false, 0.3);
  masked("causal with dropout", {}, true, 0.3);
  masked("dropout and mask", [](std::int64_t rows) { return torch::randn({rows, 1, 6, 6}); }, false, 0.3);
}

struct Residual : nn::Module {
  Residual() {
    conv1 = register_module("conv1", nn::Conv2d(nn::Conv2dOptions(4, 4, 3).padding(1).bias(false)));
    conv2 = register_module("conv2", nn::Conv2d(nn::Conv2dOptions(4, 4, 3).padding(1).bias(false)));
    bn1 = register_module("bn1", nn::BatchNorm2d(4));
    bn2 = register_module("bn2", nn::BatchNorm2d(4));
  }
  Tensor forward(const Tensor& x) { return torch::relu(x + bn2(conv2(bn1(conv1(x)).relu_()))); }
  nn::Conv2d conv1{nullptr}, conv2{nullptr};
  nn::BatchNorm2d bn1{nullptr}, bn2{nullptr};
};

void add_networks(Cases& all) {
  all.push_back(layer("MLP", {7}, [] {
    return nn::Sequential(nn::Linear(7, 16), nn::ReLU(), nn::Linear(16, 16), nn::ReLU(), nn::Linear(16, 1));
  }));
  all.push_back(layer("MLP BatchNorm Dropout", {7}, [] {
    return nn::Sequential(nn::Linear(7, 16), nn::BatchNorm1d(16), nn::ReLU(nn::ReLUOptions(true)), nn::Dropout(0.3),
                          nn::Linear(16, 4));
  }));
  all.push_back(layer("CNN", {1, 12, 12}, [] {
    return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 8, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                          nn::Conv2d(nn::Conv2dOptions(8, 16, 3).padding(1)), nn::ReLU(), nn::MaxPool2d(2),
                          nn::Flatten(), nn::Linear(16 * 9, 10));
  }));
  all.push_back(layer("residual net", {3, 8, 8}, [] {
    return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1)), Residual{}, nn::AvgPool2d(2), Residual{},
                          nn::AdaptiveAvgPool2d(1), nn::Flatten(), nn::Linear(4, 3));
  }));
  all.push_back(layer("U-shaped net", {2, 8, 8}, [] {
    struct Net : nn::Module {
      Net() {
        down = register_module("down", nn::Conv2d(nn::Conv2dOptions(2, 4, 3).stride(2).padding(1)));
        up = register_module("up", nn::ConvTranspose2d(nn::ConvTranspose2dOptions(4, 2, 2).stride(2)));
        last = register_module("last", nn::Conv2d(4, 1, 1));
      }
      Tensor forward(const Tensor& x) { return last(torch::cat({x, up(torch::silu(down(x)))}, 1)); }
      nn::Conv2d down{nullptr}, last{nullptr};
      nn::ConvTranspose2d up{nullptr};
    };
    return nn::ModuleHolder<Net>();
  }));
  // One layer used three times: its gradient has three parts.
  all.push_back({.name = "shared weights",
                 .make =
                     [] {
                       nn::Linear shared(6, 6);
                       return Subject{shared.ptr(), [shared](const levin::Batch& batch) mutable {
                                        return score(shared(torch::tanh(shared(torch::relu(shared(batch[0]))))));
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6})};
                     }});
  all.push_back({.name = "frozen layer, unused layer",
                 .make =
                     [] {
                       auto module = std::make_shared<nn::Module>("Frozen");
                       nn::Linear frozen(6, 8), head(8, 2), unused(3, 3);
                       for (Tensor& parameter : frozen->parameters()) parameter.requires_grad_(false);
                       module->register_module("frozen", frozen.ptr());
                       module->register_module("head", head.ptr());
                       module->register_module("unused", unused.ptr());
                       return Subject{module, [=](const levin::Batch& batch) mutable {
                                        return torch::mse_loss(head(torch::relu(frozen(batch[0]))), batch[1]);
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6}), torch::randn({rows, 2})};
                     }});
  all.push_back({.name = "frozen in the middle",
                 .make =
                     [] {
                       auto module = std::make_shared<nn::Module>("Middle");
                       nn::Linear in(6, 8), frozen(8, 8), out(8, 2);
                       for (Tensor& parameter : frozen->parameters()) parameter.requires_grad_(false);
                       module->register_module("in", in.ptr());
                       module->register_module("frozen", frozen.ptr());
                       module->register_module("out", out.ptr());
                       return Subject{module, [=](const levin::Batch& batch) mutable {
                                        return torch::mse_loss(out(frozen(in(batch[0]).relu_()).tanh()), batch[1]);
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6}), torch::randn({rows, 2})};
                     }});
  // Memory that the step itself moves on: an exponential mean kept in a buffer, as a target network or a codebook does.
  all.push_back({.name = "buffer updated by the step",
                 .make =
                     [] {
                       auto module = std::make_shared<nn::Module>("Ema");
                       nn::Linear linear(6, 4);
                       module->register_module("linear", linear.ptr());
                       const Tensor mean = module->register_buffer("mean", torch::zeros({4}));
                       return Subject{module, [=](const levin::Batch& batch) mutable {
                                        const Tensor h = linear(batch[0]);
                                        {
                                          const torch::NoGradGuard no_grad;
                                          mean.mul_(0.9).add_(h.mean(0), 0.1);
                                        }
                                        return (h - mean).square().mean() + h.sum() * 0.01;
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6})};
                     }});
  all.push_back({.name = "penalty on the weights",
                 .make =
                     [] {
                       nn::Sequential net(nn::Linear(6, 5), nn::Tanh(), nn::Linear(5, 1));
                       return Subject{net.ptr(), [net](const levin::Batch& batch) mutable {
                                        Tensor loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
                                        for (const Tensor& parameter : net->parameters())
                                          loss = loss + 1e-2 * parameter.square().sum() + 1e-3 * parameter.abs().sum();
                                        return loss;
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6}), torch::randn({rows, 1})};
                     }});
  all.push_back({.name = "detached branch, teacher without gradients",
                 .make =
                     [] {
                       nn::Sequential net(nn::Linear(6, 5), nn::Tanh(), nn::Linear(5, 3));
                       return Subject{net.ptr(), [net](const levin::Batch& batch) mutable {
                                        Tensor teacher;
                                        {
                                          const torch::NoGradGuard no_grad;
                                          teacher = net->forward(batch[0] * 2).softmax(-1);
                                        }
                                        const Tensor out = net->forward(batch[0]);
                                        return torch::kl_div(out.log_softmax(-1), teacher, torch::Reduction::Mean) +
                                               (out.detach() * out).mean();
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6})};
                     }});
  all.push_back({.name = "VAE",
                 .make =
                     [] {
                       auto module = std::make_shared<nn::Module>("Vae");
                       nn::Linear encoder(6, 8), decoder(4, 6);
                       module->register_module("encoder", encoder.ptr());
                       module->register_module("decoder", decoder.ptr());
                       return Subject{
                           module, [=](const levin::Batch& batch) mutable {
                             auto parts = encoder(batch[0]).chunk(2, 1);
                             const Tensor z = parts[0] + torch::randn_like(parts[0]) * (0.5 * parts[1]).exp();
                             const Tensor kl = -0.5 * (1 + parts[1] - parts[0].square() - parts[1].exp()).sum(1).mean();
                             return torch::binary_cross_entropy_with_logits(decoder(z), batch[0].sigmoid()) + 0.1 * kl;
                           }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6})};
                     }});
  all.push_back({.name = "gradient penalty",
                 .make =
                     [] {
                       nn::Sequential net(nn::Linear(6, 5), nn::Tanh(), nn::Linear(5, 1));
                       return Subject{net.ptr(), [net](const levin::Batch& batch) mutable {
                                        const Tensor x = (batch[0] * 1.0).requires_grad_();
                                        const Tensor out = net->forward(x).sum();
                                        const Tensor slope = torch::autograd::grad({out}, {x}, {}, true, true)[0];
                                        return torch::mse_loss(net->forward(batch[0]), batch[1]) +
                                               0.1 * (slope.norm(2, 1) - 1).square().mean();
                                      }};
                     },
                 .batch =
                     [](std::int64_t rows) {
                       return std::vector<Tensor>{torch::randn({rows, 6}), torch::randn({rows, 1})};
                     }});
  const auto strided = [&](std::string name, std::function<Tensor(std::int64_t)> x) {
    all.push_back({.name = std::move(name),
                   .make =
                       [] {
                         nn::Sequential net(nn::Linear(6, 5), nn::ReLU(), nn::Linear(5, 2));
                         return Subject{net.ptr(), [net](const levin::Batch& batch) mutable {
                                          return score(net->forward(batch[0] * 2));
                                        }};
                       },
                   .batch = [x = std::move(x)](std::int64_t rows) { return std::vector<Tensor>{x(rows)}; }});
  };
  strided("transposed batch", [](std::int64_t rows) { return torch::randn({6, rows}).t(); });
  strided("sliced batch", [](std::int64_t rows) {
    return torch::randn({2 * rows, 13}).slice(0, 0, 2 * rows, 2).narrow(1, 3, 6);
  });
  strided("expanded batch", [](std::int64_t rows) { return torch::randn({1, 6}).expand({rows, 6}); });
  strided("batch inside of a larger tensor", [](std::int64_t rows) {
    return torch::randn({rows + 4, 6}).narrow(0, 3, rows);
  });
}

Cases models() {
  Cases all;
  for (const auto add : {add_dense, add_convolutions, add_pools, add_norms, add_activations, add_dropouts, add_shapes,
                         add_distances, add_embeddings, add_recurrent, add_attention, add_networks}) {
    add(all);
  }
  return all;
}

struct RmsNorm : nn::Module {
  explicit RmsNorm(std::vector<std::int64_t> shape) : shape(std::move(shape)) {
    weight = register_parameter("weight", torch::rand(this->shape) + 0.5);
  }
  Tensor forward(const Tensor& x) { return torch::rms_norm(x, shape, weight, 1e-5); }
  std::vector<std::int64_t> shape;
  Tensor weight;
};

/** What used to be left to ATen, and the note that says it no longer is. */
std::vector<std::pair<Case, std::string>> native_cases() {
  const auto image = [](Tensor (*f)(const Tensor&)) {
    return [f](const Tensor& x, const levin::Batch&) { return f(x); };
  };
  const std::string none_left = " 0 of them calls of ATen";
  return {
      {layer("RMS norm", {6}, [] { return nn::ModuleHolder<RmsNorm>(std::vector<std::int64_t>{6}); }), "own RMS norm 1 times"},
      {layer("RMS norm of two dimensions", {5, 2, 3}, [] { return nn::ModuleHolder<RmsNorm>(std::vector<std::int64_t>{2, 3}); }),
       "own RMS norm 1 times"},
      {function("RMS norm without a weight", {4, 6},
                [](const Tensor& x, const levin::Batch&) { return torch::rms_norm(x, {6}, {}, 1e-6); }),
       "own RMS norm 1 times"},
      {function("RMS norm beside a residual", {4, 6},
                [](const Tensor& x, const levin::Batch&) { return x + torch::rms_norm(x, {6}, {}, 0.01).tanh(); }),
       "own RMS norm 1 times"},
      {function("relu and max pooling", {2, 6, 7}, image([](const Tensor& x) { return torch::max_pool2d((x * 1.5).relu(), 2); })),
       "relu into the max pooling"},
      {function("relu and overlapping max pooling", {2, 6, 7},
                image([](const Tensor& x) { return torch::max_pool2d((x - 0.5).relu_(), 3, 2, 1); })),
       "relu into the max pooling"},
      {function("attention with a mask", {2, 6, 4},
                [](const Tensor& x, const levin::Batch& batch) {
                  return torch::scaled_dot_product_attention(x, x.tanh(), x.exp(), batch[1]);
                },
                [](std::int64_t rows) { return std::vector<Tensor>{torch::randn({rows, 1, 6, 6})}; }),
       "own attention 1 times"},
      {layer("LSTM both ways", {6, 4}, [] { return nn::LSTM(nn::LSTMOptions(4, 5).batch_first(true).bidirectional(true)); }),
       "own LSTM layers: 2"},
      {layer("LSTM of two layers, both ways", {6, 4},
             [] { return nn::LSTM(nn::LSTMOptions(4, 5).num_layers(2).bidirectional(true)); }),
       "own LSTM layers: 4"},
      {layer("a matrix product that MKL is better at", {1024}, [] { return nn::Linear(1024, 1024); }),
       "left 2 large matrix products to ATen"},
      {layer("convolution of 3 into 64 channels", {3, 6, 5}, [] { return nn::Conv2d(nn::Conv2dOptions(3, 64, 3).padding(1)); }),
       none_left},
      {function("uneven adaptive average pooling", {2, 7, 5}, image([](const Tensor& x) { return torch::adaptive_avg_pool2d(x, {3, 4}); })),
       none_left},
      {function("uneven adaptive max pooling", {2, 7, 5},
                image([](const Tensor& x) { return std::get<0>(torch::adaptive_max_pool2d(x, {3, 4})); })),
       none_left},
  };
}

TEST(CompiledNatively, AgreesWithEagerAndSaysSo) {
  for (const auto& [c, note] : native_cases()) {
    for (const Mode mode : {Mode::fused, Mode::exact, Mode::double_}) expect_agreement(c, mode);
    torch::manual_seed(1);
    const Subject subject = c.make();
    levin::optim::SGD optimizer(trained(*subject.module), {.lr = 0.1});
    auto step = levin::compile_step(*subject.module, optimizer, subject.loss);
    auto tensors = c.batch(5);
    step(levin::Batch{std::span<const Tensor>(tensors)});
    EXPECT_NE(step.explain().find(note), std::string::npos) << c.name << '\n' << step.explain();
    subject.module->eval();
    step(levin::Batch{std::span<const Tensor>(tensors)});
  }
}

// A result that somebody else reads stays as it is.
TEST(CompiledNatively, LeavesAloneWhatIsReadElsewhere) {
  const std::vector<Case> cases = {
      function("relu read twice", {2, 6, 6},
               [](const Tensor& x, const levin::Batch&) {
                 const Tensor r = (x * 2).relu();
                 return torch::max_pool2d(r, 2).sum() + r.square().mean();
               }),
      function("a product added to itself", {6},
               [](const Tensor& x, const levin::Batch&) {
                 const Tensor row = x.mean(0, true).matmul(torch::ones({6, 4}, x.options()));
                 return (row + row).relu();
               }),
      function("places that are looked at", {2, 6, 6},
               [](const Tensor& x, const levin::Batch&) {
                 const auto [y, places] = torch::max_pool2d_with_indices((x * 2).relu(), 2);
                 return (y * places.to(y.scalar_type())).mean();
               }),
      function("normalised x that is looked at", {6}, [](const Tensor& x, const levin::Batch&) {
        const Tensor scale = (x.pow(2).mean(-1, true) + 0.1).rsqrt(), y = x * scale;
        return (y * 3).sum() + (y * scale).square().mean() + scale.tanh().sum();
      })};
  for (const Case& c : cases) {
    for (const Mode mode : {Mode::fused, Mode::double_}) expect_agreement(c, mode);
  }
}

class CompiledModels : public testing::TestWithParam<std::tuple<Case, Mode>> {};

TEST_P(CompiledModels, AgreeWithEager) { expect_agreement(std::get<0>(GetParam()), std::get<1>(GetParam())); }

TEST(CompiledThreads, GiveTheBitsOfOne) {
  for (const Case& c : models()) {
    SCOPED_TRACE(c.name);
    expect_same_on_threads(c);
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompiledModels,
                         testing::Combine(testing::ValuesIn(models()),
                                          testing::Values(Mode::fused, Mode::exact, Mode::double_)),
                         [](const auto& row) {
                           return test_name(std::get<0>(row.param).name + " " + name_of(std::get<1>(row.param)));
                         });

}  // namespace
}  // namespace compile_test
