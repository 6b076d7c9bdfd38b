// A stand-in for an accelerator on machines without one: a device "accel" whose tensors lie in the machine's own memory
// and whose operations run on the CPU, but which refuses what a real accelerator refuses: tensors of two devices in one
// operation, a view as an array, a generator of another device. What runs here without a complaint mixes no devices.

#include <torch/library.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/native_batch_norm.h>
#include <ATen/ops/zeros_like.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>

#include <array>
#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

namespace {

using at::Tensor;
using Maybe = std::optional<Tensor>;
constexpr auto KIND = c10::DeviceType::PrivateUse1;
const c10::Device DEVICE(KIND, 0);
const c10::DispatchKeySet KEYS(c10::DispatchKey::PrivateUse1);

// Memory.

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* place = bytes ? c10::alloc_cpu(bytes) : nullptr;
    return {place, place, &release, DEVICE};
  }
  static void release(void* place) {
    if (place) c10::free_cpu(place);
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
};

Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return KIND; }
  c10::Device exchangeDevice(c10::Device) const override { return DEVICE; }
  c10::Device getDevice() const override { return DEVICE; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream getDefaultStream(c10::Device) const override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return c10::Stream(c10::Stream::DEFAULT, DEVICE); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  void init() const override {}
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(1234);
    return generator;
  }
};

const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

Tensor empty(at::IntArrayRef shape, std::optional<at::ScalarType> type, std::optional<at::Layout>, std::optional<at::Device>,
             std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(shape, &memory, KEYS, c10::dtype_or_default(type), format);
}

Tensor empty_strided(at::IntArrayRef shape, at::IntArrayRef strides, std::optional<at::ScalarType> type,
                     std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(shape, strides, &memory, KEYS, c10::dtype_or_default(type));
}

// The same memory as a tensor of the CPU, and back by a copy.

Tensor on_cpu(const Tensor& tensor) {
  if (!tensor.defined() || tensor.device().type() != KIND) return tensor;
  return at::from_blob(const_cast<void*>(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                       at::TensorOptions().dtype(tensor.dtype()).device(at::kCPU));
}

Tensor own(const Tensor& tensor) {
  TORCH_CHECK(!tensor.defined() || tensor.device().type() == KIND, "Expected all tensors to be on the same device");
  return on_cpu(tensor);
}

Tensor own(const Maybe& tensor) { return tensor ? own(*tensor) : Tensor(); }

Tensor back(const Tensor& tensor) { return tensor.defined() ? tensor.to(DEVICE) : tensor; }

Tensor copy_from(const Tensor& from, const Tensor& to, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar scalar(const Tensor& tensor) { return on_cpu(tensor).item(); }

// Views.

Tensor as_strided(const Tensor& tensor, at::IntArrayRef shape, at::IntArrayRef strides, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(tensor, shape, strides, offset);
}

Tensor reshape_alias(const Tensor& tensor, at::IntArrayRef shape, at::IntArrayRef strides) {
  return at::native::as_strided_tensorimpl(tensor, shape, strides, tensor.storage_offset());
}

Tensor view(const Tensor& tensor, at::IntArrayRef shape) { return at::native::view(tensor, shape); }

Tensor unfold(const Tensor& tensor, int64_t dimension, int64_t size, int64_t step) {
  return at::native::unfold(tensor, dimension, size, step);
}

const Tensor& resize(const Tensor& tensor, at::IntArrayRef shape, std::optional<at::MemoryFormat> format) {
  return at::native::resize_(tensor, shape, format);
}

Tensor other_numbers(const Tensor& tensor, at::ScalarType type, bool complex) {
  auto shape = tensor.sizes().vec(), strides = tensor.strides().vec();
  if (complex) {
    shape.pop_back();
    strides.pop_back();
    for (auto& stride : strides) stride /= 2;
  } else {
    for (auto& stride : strides) stride *= 2;
    shape.push_back(2);
    strides.push_back(1);
  }
  auto made = at::detail::make_tensor<c10::TensorImpl>(c10::Storage(tensor.storage()), KEYS, c10::scalarTypeToTypeMeta(type));
  const auto offset = tensor.storage_offset();
  made.unsafeGetTensorImpl()->set_sizes_and_strides(shape, strides, complex ? offset / 2 : offset * 2);
  return made;
}

Tensor view_as_real(const Tensor& tensor) { return other_numbers(tensor, c10::toRealValueType(tensor.scalar_type()), false); }

Tensor view_as_complex(const Tensor& tensor) { return other_numbers(tensor, c10::toComplexType(tensor.scalar_type()), true); }

Tensor& set_part(Tensor& tensor, at::Storage storage, int64_t offset, at::IntArrayRef shape, at::IntArrayRef strides) {
  TORCH_CHECK(storage.device().type() == KIND, "a storage of another device");
  auto* made = tensor.unsafeGetTensorImpl();
  made->set_storage_keep_dtype(storage);
  std::vector<int64_t> steps(strides.begin(), strides.end());
  if (steps.empty()) {
    steps.resize(shape.size());
    int64_t step = 1;
    for (auto k = static_cast<int64_t>(shape.size()) - 1; k >= 0; --k) {
      steps[k] = step;
      step *= std::max<int64_t>(shape[k], 1);
    }
  }
  made->set_sizes_and_strides(shape, steps, offset);
  return tensor;
}

Tensor& set_storage(Tensor& tensor, at::Storage storage) {
  const auto count = static_cast<int64_t>(storage.nbytes() / tensor.dtype().itemsize());
  return set_part(tensor, storage, 0, {count}, {});
}

Tensor& set_tensor(Tensor& tensor, const Tensor& other) {
  return set_part(tensor, other.storage(), other.storage_offset(), other.sizes(), other.strides());
}

// What a backend must bring itself.

using Sizes = at::SymIntArrayRef;

Tensor convolution(const Tensor& x, const Tensor& weight, const Maybe& bias, Sizes stride, Sizes padding, Sizes dilation,
                   bool transposed, Sizes more, c10::SymInt groups) {
  const Maybe added = bias && bias->defined() ? Maybe(own(*bias)) : Maybe();
  return back(at::convolution_symint(own(x), own(weight), added, stride, padding, dilation, transposed, more, groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_back(const Tensor& slope, const Tensor& x, const Tensor& weight, Sizes stride,
                                                    Sizes padding, Sizes dilation, bool transposed, Sizes more,
                                                    c10::SymInt groups, std::array<bool, 3> wanted) {
  const std::vector<c10::SymInt> bias{weight.sym_size(transposed ? 1 : 0) * (transposed ? groups : c10::SymInt(1))};
  const auto [a, b, c] = at::convolution_backward_symint(own(slope), own(x), own(weight), bias, stride, padding, dilation,
                                                         transposed, more, groups, wanted);
  return {back(a), back(b), back(c)};
}

// Its schema does not say that it writes the running statistics, which here share their memory.
std::tuple<Tensor, Tensor, Tensor> batch_norm(const Tensor& x, const Maybe& weight, const Maybe& bias, const Maybe& mean,
                                              const Maybe& variance, bool training, double momentum, double epsilon) {
  const auto [y, m, v] = at::native_batch_norm(own(x), own(weight), own(bias), own(mean), own(variance), training, momentum, epsilon);
  return {back(y), back(m), back(v)};
}

int64_t plain_attention(const Tensor&, const Tensor&, const Tensor&, const Maybe&, double, bool, std::optional<double>, bool) {
  return 0;
}

std::tuple<Tensor, Tensor, Tensor> lstm(const Tensor& inner, const Tensor& outer, const Tensor& state, const Maybe& first,
                                        const Maybe& second) {
  Tensor gates = own(inner) + own(outer);
  if (first && first->defined()) gates = gates + own(*first);
  if (second && second->defined()) gates = gates + own(*second);
  const auto parts = gates.chunk(4, 1);
  const Tensor i = parts[0].sigmoid(), f = parts[1].sigmoid(), g = parts[2].tanh(), o = parts[3].sigmoid();
  const Tensor cell = f * own(state) + i * g;
  return {back(o * cell.tanh()), back(cell), back(at::cat({i, f, g, o}, 1))};
}

std::tuple<Tensor, Tensor, Tensor> lstm_back(const Maybe& slope, const Maybe& cell_slope, const Tensor& state,
                                             const Tensor& cell, const Tensor& kept, bool bias) {
  const auto parts = own(kept).chunk(4, 1);
  const Tensor i = parts[0], f = parts[1], g = parts[2], o = parts[3], t = own(cell).tanh();
  const Tensor h = slope && slope->defined() ? own(*slope) : at::zeros_like(t);
  const Tensor c = (cell_slope && cell_slope->defined() ? own(*cell_slope) : at::zeros_like(t)) + h * o * (1 - t * t);
  const Tensor all = at::cat(
      {c * g * i * (1 - i), c * own(state) * f * (1 - f), c * i * (1 - g * g), h * t * o * (1 - o)}, 1);
  return {back(all), back(c * f), bias ? back(all.sum(0)) : Tensor()};
}

std::tuple<Tensor, Tensor> gru(const Tensor& inner, const Tensor& outer, const Tensor& state, const Maybe& first,
                               const Maybe& second) {
  Tensor a = own(inner), b = own(outer);
  if (first && first->defined()) a = a + own(*first);
  if (second && second->defined()) b = b + own(*second);
  const auto x = a.chunk(3, 1), y = b.chunk(3, 1);
  const Tensor r = (x[0] + y[0]).sigmoid(), z = (x[1] + y[1]).sigmoid(), n = (x[2] + r * y[2]).tanh();
  return {back((1 - z) * n + z * own(state)), back(at::cat({r, z, n, own(state), y[2]}, 1))};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gru_back(const Tensor& slope, const Tensor& kept, bool bias) {
  const auto parts = own(kept).chunk(5, 1);
  const Tensor r = parts[0], z = parts[1], n = parts[2], h = parts[3], y = parts[4], s = own(slope);
  const Tensor on = s * (1 - z) * (1 - n * n), oz = s * (h - n) * z * (1 - z), orr = on * y * r * (1 - r);
  const Tensor a = at::cat({orr, oz, on}, 1), b = at::cat({orr, oz, on * r}, 1);
  return {back(a), back(b), back(s * z), bias ? back(a.sum(0)) : Tensor(), bias ? back(b.sum(0)) : Tensor()};
}

// Everything else: on the CPU, where all of it lies on one device.

void elsewhere(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  bool here = false, there = false;
  const auto look = [&](const Tensor& tensor) {
    if (!tensor.defined()) return;
    here = here || tensor.device().type() == KIND;
    there = there || (tensor.device().type() != KIND && tensor.dim() > 0);
  };
  const auto& name = op.schema().name();
  for (auto k = stack->size() - op.schema().arguments().size(); k < stack->size(); ++k) {
    const auto& value = (*stack)[k];
    if (value.isTensor()) look(value.toTensor());
    if (value.isTensorList())
      for (const Tensor& tensor : value.toTensorList()) look(tensor);
    if (value.isOptionalTensorList())
      for (const Maybe& tensor : value.toOptionalTensorList())
        if (tensor) look(*tensor);
  }
  const bool may = name == "aten::index" || name == "aten::index_put_" || name == "aten::_index_put_impl_" || name == "aten::copy_";
  TORCH_CHECK(may || !(here && there), "Expected all tensors to be on the same device (", name, ")");
  at::native::cpu_fallback(op, stack);
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&elsewhere>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", scalar);
  library.impl("as_strided", as_strided);
  library.impl("_reshape_alias", reshape_alias);
  library.impl("view", view);
  library.impl("unfold", unfold);
  library.impl("resize_", resize);
  library.impl("view_as_real", view_as_real);
  library.impl("view_as_complex", view_as_complex);
  library.impl("set_.source_Storage_storage_offset", set_part);
  library.impl("set_.source_Storage", set_storage);
  library.impl("set_.source_Tensor", set_tensor);
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolution_back);
  library.impl("native_batch_norm", batch_norm);
  library.impl("_fused_sdp_choice", plain_attention);
  library.impl("_thnn_fused_lstm_cell", lstm);
  library.impl("_thnn_fused_lstm_cell_backward_impl", lstm_back);
  library.impl("_thnn_fused_gru_cell", gru);
  library.impl("_thnn_fused_gru_cell_backward", gru_back);
}
