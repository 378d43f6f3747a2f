#include <levin/train/callbacks/lambda_callback.h>

namespace levin {
namespace {

class LambdaCallbackImpl : public CallbackImpl {
 public:
  explicit LambdaCallbackImpl(LambdaCallbackOptions options) : o_(std::move(options)) {}

  void setup(Trainer& trainer, Module& module, Stage stage) override { o_.setup(trainer, module, stage); }
  void teardown(Trainer& trainer, Module& module, Stage stage) override { o_.teardown(trainer, module, stage); }
#define LEVIN_HOOK(name) \
  void name(Trainer& trainer, Module& module) override { o_.name(trainer, module); }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name)                                                                               \
  void name(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override {   \
    o_.name(trainer, module, batch, batch_idx);                                                        \
  }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  void on_before_zero_grad(Trainer& trainer, Module& module, optim::Optimizer& optimizer) override {
    o_.on_before_zero_grad(trainer, module, optimizer);
  }
  void on_before_backward(Trainer& trainer, Module& module, const at::Tensor& loss) override {
    o_.on_before_backward(trainer, module, loss);
  }
  void on_before_optimizer_step(Trainer& trainer, Module& module, optim::Optimizer& optimizer) override {
    o_.on_before_optimizer_step(trainer, module, optimizer);
  }
  void on_exception(Trainer& trainer, Module& module, std::exception_ptr error) override {
    o_.on_exception(trainer, module, std::move(error));
  }
  void on_save_checkpoint(Trainer& trainer, Module& module, Checkpoint& checkpoint) override {
    o_.on_save_checkpoint(trainer, module, checkpoint);
  }
  void on_load_checkpoint(Trainer& trainer, Module& module, const Checkpoint& checkpoint) override {
    o_.on_load_checkpoint(trainer, module, checkpoint);
  }

  /** The hooks that were given a function: the Trainer calls no other. */
  static HookSet given(const LambdaCallbackOptions& options) {
    HookSet set;
#define LEVIN_HOOK(name) \
  if (options.name) set.add(Hook::name);
    LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
    LEVIN_BATCH_HOOKS(LEVIN_HOOK)
    LEVIN_OTHER_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
    return set;
  }

 private:
  LambdaCallbackOptions o_;
};

}  // namespace

LambdaCallback::LambdaCallback(LambdaCallbackOptions options)
    : Callback(std::make_shared<LambdaCallbackImpl>(options), LambdaCallbackImpl::given(options)) {}

}  // namespace levin
