# mclust's choice among its models, one to nine components: Rscript mclust_search.R FOLDER ROWS FEATURES
# Numbers come as little-endian doubles in column-major order; prints seconds, BIC (its sign), model and components.
suppressPackageStartupMessages(library(mclust))
given <- commandArgs(trailingOnly = TRUE)
n <- as.integer(given[2]); d <- as.integer(given[3])
x <- matrix(readBin(file.path(given[1], "x"), "double", n * d, endian = "little"), n, d)
took <- system.time(fitted <- Mclust(x, G = 1:9, verbose = FALSE))[["elapsed"]]
cat(took, fitted$bic, fitted$modelName, fitted$G, "\n")
