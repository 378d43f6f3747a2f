#include <levin/compile/kernels/lstm.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/lstm.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {

void Forward(const LstmCell& s, const LstmForwardArgs& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t w = s.width;
  for (std::int64_t r = begin; r < end; r++) {
    each_place(0, w, [&](auto at) HWY_ATTR {
      const auto gate = [&](std::int64_t g) HWY_ATTR {
        V v = at.read(a.input_gates + (4 * r + g) * w);
        if (a.input_bias) v = hn::Add(v, at.read(a.input_bias + g * w));
        if (a.hidden_gates) v = hn::Add(v, at.read(a.hidden_gates + (4 * r + g) * w));
        if (a.hidden_bias) v = hn::Add(v, at.read(a.hidden_bias + g * w));
        return v;
      };
      const V in = sigmoid(gate(0)), forget = sigmoid(gate(1)), candidate = tanh(gate(2)), out = sigmoid(gate(3));
      const V cell = hn::MulAdd(forget, at.read(a.cell + r * w), hn::Mul(in, candidate));
      at.write(cell, a.new_cell + r * w);
      at.write(hn::Mul(out, tanh(cell)), a.new_hidden + r * w);
      if (!a.gates) return;
      at.write(in, a.gates + 4 * r * w);
      at.write(forget, a.gates + (4 * r + 1) * w);
      at.write(candidate, a.gates + (4 * r + 2) * w);
      at.write(out, a.gates + (4 * r + 3) * w);
    });
  }
}

void Backward(const LstmCell& s, const LstmBackwardArgs& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t w = s.width;
  for (std::int64_t r = begin; r < end; r++) {
    each_place(0, w, [&](auto at) HWY_ATTR {
      const V one = set(1.F);
      const auto gate = [&](std::int64_t g) HWY_ATTR { return at.read(a.gates + (4 * r + g) * w); };
      const V in = gate(0), forget = gate(1), candidate = gate(2), out = gate(3), t = tanh(at.read(a.new_cell + r * w));
      const V d_hidden = a.d_hidden ? at.read(a.d_hidden + r * w) : zero();
      V d_cell = hn::Mul(hn::Mul(d_hidden, out), hn::NegMulAdd(t, t, one));
      if (a.d_cell) d_cell = hn::Add(d_cell, at.read(a.d_cell + r * w));
      const auto of_sigmoid = [&](V gradient, V y) HWY_ATTR { return hn::Mul(hn::Mul(gradient, hn::Sub(one, y)), y); };
      const auto write = [&](V v, std::int64_t g) HWY_ATTR { at.write(v, a.d_gates + (4 * r + g) * w); };
      write(of_sigmoid(hn::Mul(d_cell, candidate), in), 0);
      write(of_sigmoid(hn::Mul(d_cell, at.read(a.cell + r * w)), forget), 1);
      write(hn::Mul(hn::Mul(d_cell, in), hn::NegMulAdd(candidate, candidate, one)), 2);
      write(of_sigmoid(hn::Mul(d_hidden, t), out), 3);
      at.write(hn::Mul(d_cell, forget), a.d_old_cell + r * w);
    });
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(Forward);
HWY_EXPORT(Backward);
LstmForwardFn select_lstm_forward(const LstmCell&) { return LEVIN_BEST(Forward); }
LstmBackwardFn select_lstm_backward(const LstmCell&) { return LEVIN_BEST(Backward); }

}  // namespace levin::compile::kernels
#endif
