# Kernels for one instruction set live in a folder of that name under
# src/backend/cpu/ and get its flags; everything else is plain C for the base ISA.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(LM_ISA_avx2 -mavx2 -mfma -mf16c)
  set(LM_ISA_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512bf16 -mavx512vbmi -mavx2 -mfma -mf16c
      -mprefer-vector-width=512)
  set(LM_ISA_amx ${LM_ISA_avx512} -mamx-tile -mamx-int8)
  set(LM_ISA_avx_vnni ${LM_ISA_avx2} -mavxvnni)
  set(LM_ISAS avx2 avx_vnni avx512 amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(LM_ISA_neon "") # in every aarch64; the two below are files of that folder
  set(LM_ISAS neon)
else()
  set(LM_ISAS "")
endif()
foreach(isa avx2 avx_vnni avx512 amx neon)
  file(GLOB isa_sources CONFIGURE_DEPENDS src/backend/cpu/${isa}/*.c)
  if(isa IN_LIST LM_ISAS)
    set_source_files_properties(${isa_sources} PROPERTIES COMPILE_OPTIONS "${LM_ISA_${isa}}")
    list(APPEND LM_ISA_SOURCES ${isa_sources})
    if(isa STREQUAL "neon")
      set_source_files_properties(src/backend/cpu/neon/linear_neon_dotprod.c PROPERTIES COMPILE_OPTIONS
        "-march=armv8.2-a+dotprod")
      set_source_files_properties(src/backend/cpu/neon/linear_neon_i8mm.c PROPERTIES COMPILE_OPTIONS
        "-march=armv8.2-a+dotprod+i8mm")
    endif()
    # Fuzz targets read files and multiply nothing; clang takes more than twenty
    # minutes for one instrumented kernel.
    if(LM_FUZZ)
      set_property(SOURCE ${isa_sources} APPEND PROPERTY COMPILE_OPTIONS "-fno-sanitize=all")
    endif()
  elseif(isa_sources)
    list(REMOVE_ITEM LM_SOURCES ${isa_sources})
  endif()
endforeach()
