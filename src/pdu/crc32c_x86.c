/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CRC32C with the instructions of SSE4.2 and PCLMULQDQ. */
#include "pdu/crc32c_impl.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define HW_TARGET		__attribute__((target("sse4.2,pclmul")))
#define HW_TARGET_NO_CLMUL	__attribute__((target("sse4.2")))
#define HW_U64(crc, w)		((uint32_t)_mm_crc32_u64(crc, w))
#define HW_U8(crc, b)		_mm_crc32_u8(crc, b)
#define HW_CLMUL(a, k)							\
	((uint64_t)_mm_cvtsi128_si64(_mm_clmulepi64_si128(		\
		_mm_cvtsi32_si128((int)(a)), _mm_cvtsi32_si128((int)(k)), 0)))

#include "pdu/crc32c_hw.h"

static const struct nofi_crc32c_ops ops_clmul = { "sse4.2", update_clmul, copy_clmul };
static const struct nofi_crc32c_ops ops_serial = { "sse4.2", update_serial, copy_serial };

const struct nofi_crc32c_ops *nofi_crc32c_probe_x86(void)
{
	/* Needed only before constructors have run, which a caller's own may do. */
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("sse4.2"))
		return NULL;
	return __builtin_cpu_supports("pclmul") ? &ops_clmul : &ops_serial;
}

#else

const struct nofi_crc32c_ops *nofi_crc32c_probe_x86(void)
{
	return NULL;
}

#endif
