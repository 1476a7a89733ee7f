# isa_digest (tests/isa/): the CPU's kernels with nothing but libc and libm.  With
# LM_KERNELS_ONLY it is all that is built, statically, so that a cross compiler
# needs no libraries of the other machine.
file(GLOB LM_KERNEL_SOURCES CONFIGURE_DEPENDS src/quant/*.c src/backend/cpu/portable/*.c)
list(APPEND LM_KERNEL_SOURCES ${LM_ISA_SOURCES} src/tensor/kv.c src/base/mem.c src/base/fail.c
  src/backend/cpu/attend.c src/backend/cpu/isa.c src/backend/cpu/kernels.c src/backend/cpu/linear.c
  src/backend/cpu/linear_portable.c src/backend/cpu/rotary.c)
add_executable(isa_digest tests/isa/digest.c)
lm_target_defaults(isa_digest)
if(LM_KERNELS_ONLY)
  target_sources(isa_digest PRIVATE ${LM_KERNEL_SOURCES})
  target_link_options(isa_digest PRIVATE -static)
  target_link_libraries(isa_digest PRIVATE m)
else()
  target_link_libraries(isa_digest PRIVATE lemma_static)
endif()
