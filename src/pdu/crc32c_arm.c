/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CRC32C with the CRC32 and PMULL instructions of ARMv8, as the kernel reports them. */
#include "pdu/crc32c_impl.h"

#if defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__

#include <sys/auxv.h>

/* Bits of AT_HWCAP on arm64, part of the kernel's ABI. */
#define HWCAP_ARM64_PMULL	(1ul << 4)
#define HWCAP_ARM64_CRC32	(1ul << 7)

#ifdef __clang__
#define HW_TARGET		__attribute__((target("crc,aes")))
#define HW_TARGET_NO_CLMUL	__attribute__((target("crc")))
#else
#define HW_TARGET		__attribute__((target("+crc+crypto")))
#define HW_TARGET_NO_CLMUL	__attribute__((target("+crc")))
#endif

/*
 * The instructions by name: arm_acle.h of some compilers declares its functions
 * only if the whole file is compiled for a CPU that has them.
 */
HW_TARGET_NO_CLMUL static inline uint32_t crc32c_u64(uint32_t crc, uint64_t w)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(w));
	return crc;
}

HW_TARGET_NO_CLMUL static inline uint32_t crc32c_u8(uint32_t crc, uint8_t b)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)b));
	return crc;
}

HW_TARGET static inline uint64_t clmul(uint64_t a, uint64_t k)
{
	uint64_t product;

	__asm__(".arch_extension crypto\n\t"
		"fmov d0, %1\n\tfmov d1, %2\n\tpmull v0.1q, v0.1d, v1.1d\n\tfmov %0, d0"
		: "=r"(product) : "r"(a), "r"(k) : "v0", "v1");
	return product;
}

#define HW_U64(crc, w)		crc32c_u64(crc, w)
#define HW_U8(crc, b)		crc32c_u8(crc, b)
#define HW_CLMUL(a, k)		clmul(a, k)

#include "pdu/crc32c_hw.h"

static const struct nofi_crc32c_ops ops_clmul = { "armv8", update_clmul, copy_clmul };
static const struct nofi_crc32c_ops ops_serial = { "armv8", update_serial, copy_serial };

const struct nofi_crc32c_ops *nofi_crc32c_probe_arm(void)
{
	unsigned long hwcap = getauxval(AT_HWCAP);

	if (!(hwcap & HWCAP_ARM64_CRC32))
		return NULL;
	return hwcap & HWCAP_ARM64_PMULL ? &ops_clmul : &ops_serial;
}

#else

const struct nofi_crc32c_ops *nofi_crc32c_probe_arm(void)
{
	return NULL;
}

#endif
