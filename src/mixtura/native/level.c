/* Which of the compiled levels this processor runs: asked of the base, which every processor runs. */

#define IS_base 1
#define GLUE_(a, b) a##b
#define GLUE(a, b) GLUE_(a, b)

#if GLUE(IS_, LEVEL)
const char *mixtura_level(void) {
#if LEVELS > 1
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "v3";
#endif
    return "base";
}
#endif
