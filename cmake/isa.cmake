# Kernels for one instruction set live in a folder of that name under
# src/backend/cpu/ and get its flags; everything else is plain C for the base ISA.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(LM_ISA_avx2 -mavx2 -mfma -mf16c)
  set(LM_ISA_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx512vbmi -mavx2 -mfma -mf16c
      -mprefer-vector-width=512)
  set(LM_ISA_amx ${LM_ISA_avx512} -mamx-tile -mamx-int8)
  set(LM_ISAS avx2 avx512 amx)
else()
  set(LM_ISAS "")
endif()
foreach(isa avx2 avx512 amx neon)
  file(GLOB isa_sources CONFIGURE_DEPENDS src/backend/cpu/${isa}/*.c)
  if(isa IN_LIST LM_ISAS)
    set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${LM_ISA_${isa}}")
  elseif(isa_sources)
    list(REMOVE_ITEM LM_SOURCES ${isa_sources})
  endif()
endforeach()
