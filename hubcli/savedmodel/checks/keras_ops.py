"""TensorFlow functions and ops that an op layer of a Keras 2 model may call: those that only compute.

By name in TensorFlow's public API, 2.21. None opens a file, talks to another
machine, takes a Python function, decodes a file format or keeps a state.
Left out on purpose: io, data, raw_ops, py_function, map_fn, while_loop,
candidate samplers (one reads a vocabulary file), image.decode_*.
"""

from __future__ import annotations

from hubcli.savedmodel.checks.keras_names import FUNCTIONS, words

__all__ = ["is_pure_function", "is_pure_method", "is_pure_op"]

_COMPAT = "compat.v1."


def is_pure_function(name: object) -> bool:
    """Whether TFOpLambda may call the function of that name.

    >>> is_pure_function("math.multiply"), is_pure_function("io.write_file")
    (True, False)
    """
    if not isinstance(name, str):
        return False
    # Functions of TensorFlow 1 have names of their own, or those of 2.
    return _has(name) or (name.startswith(_COMPAT) and _has(name.removeprefix(_COMPAT)))


def is_pure_op(name: object) -> bool:
    """Whether TensorFlowOpLayer may hold the op."""
    return isinstance(name, str) and name in _PURE_OPS


def is_pure_method(cls: object, method: object) -> bool:
    """Whether ClassMethod may call the method of that class (None: InstanceMethod, of its own input)."""
    if not isinstance(method, str):
        return False
    if cls is None:
        return method in _TENSOR_ATTRIBUTES
    return cls == "RaggedTensor" and method in _RAGGED_CONSTRUCTORS


def _has(name: str) -> bool:
    module, _, function = name.rpartition(".")
    return function in _PURE_FUNCTIONS.get(module, ())


_RAGGED_CONSTRUCTORS = words("""
from_value_rowids from_row_splits from_row_lengths from_row_starts from_row_limits from_uniform_row_length
from_nested_value_rowids from_nested_row_splits from_nested_row_lengths from_tensor from_sparse
""")
_TENSOR_ATTRIBUTES = words("""
values flat_values row_splits nested_row_splits value_rowids nested_value_rowids nrows row_starts row_limits
row_lengths nested_row_lengths bounding_shape with_values with_flat_values with_row_splits_dtype merge_dims
to_tensor to_sparse indices dense_shape
""")
_FUNCTIONS = {
    "": """
abs acos acosh add add_n argmax argmin argsort as_string asin asinh atan atan2 atanh batch_to_space
bitcast boolean_mask broadcast_dynamic_shape broadcast_static_shape broadcast_to cast
clip_by_global_norm clip_by_norm clip_by_value complex concat constant convert_to_tensor cos cosh cumsum
divide dynamic_partition dynamic_stitch edit_distance eig eigvals einsum ensure_shape equal exp
expand_dims extract_volume_patches eye fftnd fill floor gather gather_nd greater greater_equal
guarantee_const histogram_fixed_width histogram_fixed_width_bins identity identity_n ifftnd irfftnd
is_tensor less less_equal linspace logical_and logical_not logical_or matmul matrix_square_root maximum
meshgrid minimum multiply negative norm not_equal one_hot ones ones_like pad parallel_stack pow
ragged_fill_empty_rows ragged_fill_empty_rows_grad random_index_shuffle range rank realdiv reduce_all
reduce_any reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat
required_space_to_batch_paddings reshape reverse reverse_sequence rfftnd roll round saturate_cast
scalar_mul scatter_nd searchsorted sequence_mask shape shape_n sigmoid sign sin sinh size slice sort
space_to_batch space_to_batch_nd split sqrt square squeeze stack stop_gradient strided_slice subtract
tan tanh tensor_scatter_nd_add tensor_scatter_nd_max tensor_scatter_nd_min tensor_scatter_nd_sub
tensor_scatter_nd_update tensordot tile transpose truediv truncatediv truncatemod unique
unique_with_counts unravel_index unstack where zeros zeros_like
""",
    "__operators__": """
add eq getitem ne ragged_getitem
""",
    "bitwise": """
bitwise_and bitwise_or bitwise_xor invert left_shift right_shift
""",
    "compat.v1": """
accumulate_n add_n angle arg_max arg_min argmax batch_gather betainc bincount ceil cholesky
confusion_matrix conj count_nonzero cross depth_to_space dequantize diag diag_part digamma div
div_no_nan erf erfc expm1 extract_image_patches fft fft2d floor_div floordiv floormod ifft ifft2d igamma
igammac imag invert_permutation is_finite is_inf is_nan lbeta lgamma lin_space log log1p log_sigmoid
matrix_band_part matrix_determinant matrix_diag matrix_diag_part matrix_inverse matrix_set_diag
matrix_transpose mod multinomial polygamma random_crop random_normal random_shuffle random_uniform real
reciprocal reduce_join regex_replace reverse_v2 rint rsqrt segment_max segment_mean segment_min
segment_prod segment_sum space_to_depth sparse_tensor_to_dense sparse_to_dense squared_difference
squeeze string_join string_split string_strip string_to_hash_bucket string_to_hash_bucket_fast
string_to_hash_bucket_strong string_to_number substr to_bfloat16 to_complex128 to_complex64 to_double
to_float to_int32 to_int64 trace truncated_normal unsorted_segment_max unsorted_segment_mean
unsorted_segment_min unsorted_segment_prod unsorted_segment_sqrt_n unsorted_segment_sum where_v2 zeta
""",
    "compat.v1.image": """
extract_image_patches resize_area resize_bicubic resize_bilinear resize_image_with_crop_or_pad
resize_image_with_pad resize_images resize_nearest_neighbor transpose_image
""",
    "compat.v1.nn": """
avg_pool_v2 depthwise_conv2d_native fused_batch_norm max_pool_v2 quantized_relu_x relu_layer
softmax_cross_entropy_with_logits_v2 xw_plus_b
""",
    "debugging": """
check_numerics
""",
    "dtypes": """
cast complex saturate_cast
""",
    "image": """
adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation central_crop
combined_non_max_suppression convert_image_dtype crop_and_resize crop_to_bounding_box
draw_bounding_boxes extract_glimpse extract_patches flip_left_right flip_up_down
generate_bounding_box_proposals grayscale_to_rgb hsv_to_rgb image_gradients non_max_suppression
non_max_suppression_overlaps non_max_suppression_padded non_max_suppression_with_scores
pad_to_bounding_box per_image_standardization psnr random_brightness random_contrast random_crop
random_flip_left_right random_flip_up_down random_hue random_saturation resize resize_with_crop_or_pad
resize_with_pad rgb_to_grayscale rgb_to_hsv rgb_to_yiq rgb_to_yuv rot90 sample_distorted_bounding_box
sobel_edges ssim ssim_multiscale stateless_random_brightness stateless_random_contrast
stateless_random_crop stateless_random_flip_left_right stateless_random_flip_up_down
stateless_random_hue stateless_random_saturation stateless_sample_distorted_bounding_box total_variation
transpose yiq_to_rgb yuv_to_rgb
""",
    "keras.backend": """
abs all any arange argmax argmin batch_dot batch_flatten batch_normalization bias_add
binary_crossentropy binary_focal_crossentropy cast cast_to_floatx categorical_crossentropy
categorical_focal_crossentropy clip concatenate constant conv1d conv2d conv2d_transpose conv3d cos
ctc_batch_cost ctc_decode ctc_label_dense_to_sparse cumprod cumsum depthwise_conv2d dot dropout elu
equal exp expand_dims eye flatten gather greater greater_equal hard_sigmoid in_top_k int_shape
l2_normalize less less_equal local_conv1d local_conv2d log max maximum mean min minimum ndim not_equal
one_hot ones ones_like permute_dimensions pool2d pool3d pow prod random_bernoulli random_binomial
random_normal random_uniform relu repeat repeat_elements reshape resize_images resize_volumes reverse
round separable_conv2d shape sigmoid sign sin softmax softplus softsign sparse_categorical_crossentropy
spatial_2d_padding spatial_3d_padding sqrt square squeeze stack std stop_gradient sum tanh
temporal_padding tile to_dense transpose truncated_normal var zeros zeros_like
""",
    "linalg": """
adjoint band_part banded_triangular_solve cholesky cholesky_solve cross det diag diag_part eig eigh
eigh_tridiagonal eigvals eigvalsh einsum expm eye global_norm inv l2_normalize logdet logm lstsq lu
lu_matrix_inverse lu_reconstruct lu_solve matmul matrix_rank matrix_transpose matvec norm normalize pinv
qr set_diag slogdet solve sqrtm svd tensor_diag tensor_diag_part tensordot trace triangular_solve
tridiagonal_matmul tridiagonal_solve
""",
    "math": """
abs accumulate_n acos acosh add add_n angle approx_max_k approx_min_k argmax argmin asin asinh atan
atan2 atanh bessel_i0 bessel_i0e bessel_i1 bessel_i1e betainc bincount ceil confusion_matrix conj cos
cosh count_nonzero cumprod cumsum cumulative_logsumexp digamma divide divide_no_nan equal erf erfc
erfcinv erfinv exp expm1 floor floordiv floormod greater greater_equal igamma igammac imag in_top_k
invert_permutation is_finite is_inf is_nan is_non_decreasing is_strictly_increasing l2_normalize lbeta
less less_equal lgamma log log1p log_sigmoid log_softmax logical_and logical_not logical_or logical_xor
maximum minimum mod multiply multiply_no_nan ndtri negative nextafter not_equal polygamma polyval pow
real reciprocal reciprocal_no_nan reduce_all reduce_any reduce_euclidean_norm reduce_logsumexp
reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance rint round rsqrt
scalar_mul segment_max segment_mean segment_min segment_prod segment_sum sigmoid sign sin sinh
sobol_sample softmax softplus softsign sqrt square squared_difference subtract tan tanh top_k truediv
unsorted_segment_max unsorted_segment_mean unsorted_segment_min unsorted_segment_prod
unsorted_segment_sqrt_n unsorted_segment_sum xdivy xlog1py xlogy zero_fraction zeta
""",
    "math.special": """
bessel_i0 bessel_i0e bessel_i1 bessel_i1e bessel_j0 bessel_j1 bessel_k0 bessel_k0e bessel_k1 bessel_k1e
bessel_y0 bessel_y1 dawsn expint fresnel_cos fresnel_sin spence
""",
    "nn": """
approx_max_k approx_min_k atrous_conv2d atrous_conv2d_transpose avg_pool avg_pool1d avg_pool2d
avg_pool3d batch_norm_with_global_normalization batch_normalization bias_add collapse_repeated conv1d
conv1d_transpose conv2d conv2d_transpose conv3d conv3d_transpose conv_transpose convolution crelu
ctc_beam_search_decoder ctc_greedy_decoder ctc_loss ctc_unique_labels depth_to_space depthwise_conv2d
depthwise_conv2d_backprop_filter depthwise_conv2d_backprop_input dilation2d dropout elu embedding_lookup
embedding_lookup_sparse erosion2d fractional_avg_pool fractional_max_pool gelu in_top_k
isotonic_regression l2_loss l2_normalize leaky_relu local_response_normalization log_poisson_loss
log_softmax lrn max_pool max_pool1d max_pool2d max_pool3d max_pool_with_argmax moments normalize_moments
pool relu relu6 safe_embedding_lookup_sparse selu separable_conv2d sigmoid
sigmoid_cross_entropy_with_logits silu softmax softmax_cross_entropy_with_logits softplus softsign
space_to_batch space_to_depth sparse_softmax_cross_entropy_with_logits sufficient_statistics swish tanh
top_k weighted_cross_entropy_with_logits weighted_moments zero_fraction
""",
    "quantization": """
dequantize fake_quant_with_min_max_args fake_quant_with_min_max_args_gradient
fake_quant_with_min_max_vars fake_quant_with_min_max_vars_gradient
fake_quant_with_min_max_vars_per_channel fake_quant_with_min_max_vars_per_channel_gradient quantize
quantize_and_dequantize quantize_and_dequantize_v2 quantized_concat
""",
    "ragged": """
boolean_mask constant cross cross_hashed range row_splits_to_segment_ids segment_ids_to_row_splits stack
stack_dynamic_partitions
""",
    "random": """
categorical fold_in gamma normal poisson shuffle split stateless_binomial stateless_categorical
stateless_gamma stateless_normal stateless_parameterized_truncated_normal stateless_poisson
stateless_truncated_normal stateless_uniform truncated_normal uniform
""",
    "sets": """
difference intersection size union
""",
    "signal": """
dct fft fft2d fft3d fftnd fftshift frame hamming_window hann_window idct ifft ifft2d ifft3d ifftnd
ifftshift inverse_mdct inverse_stft irfft irfft2d irfft3d irfftnd kaiser_bessel_derived_window
kaiser_window linear_to_mel_weight_matrix mdct mfccs_from_log_mel_spectrograms overlap_and_add rfft
rfft2d rfft3d rfftnd stft vorbis_window
""",
    "sparse": """
add bincount concat cross cross_hashed expand_dims eye fill_empty_rows from_dense mask maximum minimum
reduce_max reduce_sum reorder reset_shape reshape retain sampled_addmm segment_mean segment_sqrt_n
segment_sum slice softmax sparse_dense_matmul split to_dense to_indicator transpose
""",
    "strings": """
as_string bytes_split format join length lower ngrams reduce_join regex_full_match regex_replace split
strip substr to_hash_bucket to_hash_bucket_fast to_hash_bucket_strong to_number unicode_decode
unicode_decode_with_offsets unicode_encode unicode_script unicode_split unicode_split_with_offsets
unicode_transcode unsorted_segment_join upper
""",
}
_PURE_FUNCTIONS = {module: words(names) for module, names in _FUNCTIONS.items()}
_PURE_FUNCTIONS["keras.activations"] = FUNCTIONS
_PURE_FUNCTIONS["keras.losses"] = FUNCTIONS
_PURE_FUNCTIONS["keras.metrics"] = FUNCTIONS
_PURE_OPS = words("""
Abs Acos Acosh Add AddN AddV2 AdjustContrast AdjustContrastv2 AdjustHue AdjustSaturation All Angle Any
ApproxTopK ApproximateEqual ArgMax ArgMin AsString Asin Asinh Atan Atan2 Atanh AvgPool AvgPool3D
AvgPool3DGrad AvgPoolGrad BandedTriangularSolve BatchCholesky BatchCholeskyGrad BatchFFT BatchFFT2D
BatchFFT3D BatchIFFT BatchIFFT2D BatchIFFT3D BatchMatMul BatchMatMulV2 BatchMatMulV3 BatchMatrixBandPart
BatchMatrixDeterminant BatchMatrixDiag BatchMatrixDiagPart BatchMatrixInverse BatchMatrixSetDiag
BatchMatrixSolve BatchMatrixSolveLs BatchMatrixTriangularSolve BatchSelfAdjointEig BatchSelfAdjointEigV2
BatchSvd BatchToSpace BatchToSpaceND BesselI0 BesselI0e BesselI1 BesselI1e BesselJ0 BesselJ1 BesselK0
BesselK0e BesselK1 BesselK1e BesselY0 BesselY1 Betainc BiasAdd BiasAddGrad BiasAddV1 Bincount Bitcast
BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastGradientArgs BroadcastTo Bucketize CTCLoss
CTCLossV2 Cast Ceil Cholesky CholeskyGrad ClipByValue CombinedNonMaxSuppression Complex ComplexAbs
Concat ConcatOffset ConcatV2 Conj ConjugateTranspose Const Conv Conv2D Conv2DBackpropFilter
Conv2DBackpropFilterV2 Conv3D Conv3DBackpropFilter Conv3DBackpropFilterV2 Cos Cosh CropAndResize
CropAndResizeGradBoxes Cross Cumprod Cumsum CumulativeLogsumexp DataFormatDimMap DataFormatVecPermute
Dawsn DenseBincount DenseToDenseSetOperation DenseToSparseSetOperation DepthToSpace
DepthwiseConv2dNative DepthwiseConv2dNativeBackpropFilter Dequantize Diag DiagPart Digamma Dilation2D
Dilation2DBackpropFilter Div DivNoNan DrawBoundingBoxes DrawBoundingBoxesV2 DynamicPartition
DynamicStitch EditDistance Eig Einsum Elu EluGrad EnsureShape Equal Erf Erfc Erfinv EuclideanNorm Exp
ExpandDims Expint Expm1 ExtractGlimpse ExtractGlimpseV2 ExtractImagePatches ExtractVolumePatches FFT
FFT2D FFT3D FFTND FakeQuantWithMinMaxArgs FakeQuantWithMinMaxArgsGradient FakeQuantWithMinMaxVars
FakeQuantWithMinMaxVarsGradient FakeQuantWithMinMaxVarsPerChannel
FakeQuantWithMinMaxVarsPerChannelGradient Fill Fingerprint Floor FloorDiv FloorMod FractionalAvgPool
FractionalAvgPoolGrad FractionalMaxPool FractionalMaxPoolGrad FresnelCos FresnelSin FusedBatchNorm
FusedBatchNormGrad FusedBatchNormGradV2 FusedBatchNormGradV3 FusedBatchNormV2 FusedBatchNormV3
FusedPadConv2D FusedResizeAndPadConv2D Gather GatherNd GatherV2 Greater GreaterEqual HSVToRGB
HistogramFixedWidth IFFT IFFT2D IFFT3D IFFTND IRFFT IRFFT2D IRFFT3D IRFFTND Identity IdentityN Igamma
IgammaGradA Igammac Imag ImageProjectiveTransformV2 ImageProjectiveTransformV3 InTopK InTopKV2 Inv
InvGrad Invert InvertPermutation IsFinite IsInf IsNan IsotonicRegression L2Loss LRN LRNGrad LeakyRelu
LeakyReluGrad LeftShift Less LessEqual Lgamma LinSpace ListDiff Log Log1p LogMatrixDeterminant
LogSoftmax LogicalAnd LogicalNot LogicalOr LowerBound Lu MatMul MatrixBandPart MatrixDeterminant
MatrixDiag MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixDiagV2 MatrixDiagV3 MatrixExponential
MatrixInverse MatrixLogarithm MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixSolve MatrixSolveLs
MatrixSquareRoot MatrixTriangularSolve Max MaxPool MaxPool3D MaxPool3DGrad MaxPool3DGradGrad MaxPoolGrad
MaxPoolGradGrad MaxPoolGradGradV2 MaxPoolGradGradWithArgmax MaxPoolGradV2 MaxPoolGradWithArgmax
MaxPoolV2 MaxPoolWithArgmax Maximum Mean Min Minimum MirrorPad MirrorPadGrad Mod Mul MulNoNan
Multinomial Ndtri Neg NextAfter NonMaxSuppression NonMaxSuppressionV2 NonMaxSuppressionV3
NonMaxSuppressionV4 NonMaxSuppressionV5 NonMaxSuppressionWithOverlaps NotEqual NthElement OneHot
OnesLike Pack Pad PadV2 ParallelConcat ParallelDynamicStitch PopulationCount Pow PreventGradient Prod Qr
QuantizeAndDequantize QuantizeAndDequantizeV2 QuantizeAndDequantizeV3 QuantizeAndDequantizeV4
QuantizeAndDequantizeV4Grad QuantizeDownAndShrinkRange QuantizeV2 RFFT RFFT2D RFFT3D RFFTND RGBToHSV
RaggedBincount RaggedCross RaggedFillEmptyRows RaggedFillEmptyRowsGrad RaggedGather RaggedRange
RaggedTensorToSparse RaggedTensorToTensor RandomGammaGrad RandomIndexShuffle RandomShuffle
RandomStandardNormal RandomUniform RandomUniformInt Range Rank Real RealDiv Reciprocal ReciprocalGrad
ReduceJoin RegexFullMatch RegexReplace Relu Relu6 Relu6Grad ReluGrad RequantizationRange
RequantizationRangePerChannel Requantize RequantizePerChannel Reshape ResizeArea ResizeBicubic
ResizeBicubicGrad ResizeBilinear ResizeBilinearGrad ResizeNearestNeighbor Reverse ReverseSequence
ReverseV2 RightShift Rint Roll Round Rsqrt RsqrtGrad ScaleAndTranslate ScaleAndTranslateGrad ScatterNd
ScatterNdNonAliasingAdd SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd
SegmentProdV2 SegmentSum SegmentSumV2 Select SelectV2 SelfAdjointEig SelfAdjointEigV2 Selu SeluGrad
SetSize Shape ShapeN Sigmoid SigmoidGrad Sign Sin Sinh Size Slice SobolSample Softmax
SoftmaxCrossEntropyWithLogits Softplus SoftplusGrad Softsign SoftsignGrad SpaceToBatch SpaceToBatchND
SpaceToDepth SparseAdd SparseAddGrad SparseBincount SparseConcat SparseCross SparseCrossHashed
SparseCrossV2 SparseDenseCwiseAdd SparseDenseCwiseDiv SparseDenseCwiseMul SparseFillEmptyRows
SparseFillEmptyRowsGrad SparseMatMul SparseReduceMax SparseReduceMaxSparse SparseReduceSum
SparseReduceSumSparse SparseReorder SparseReshape SparseSegmentMean SparseSegmentMeanGrad
SparseSegmentMeanGradV2 SparseSegmentMeanWithNumSegments SparseSegmentSqrtN SparseSegmentSqrtNGrad
SparseSegmentSqrtNGradV2 SparseSegmentSqrtNWithNumSegments SparseSegmentSum SparseSegmentSumGrad
SparseSegmentSumGradV2 SparseSegmentSumWithNumSegments SparseSlice SparseSliceGrad SparseSoftmax
SparseSoftmaxCrossEntropyWithLogits SparseSparseMaximum SparseSparseMinimum SparseSplit
SparseTensorDenseAdd SparseTensorDenseMatMul SparseToDense SparseToSparseSetOperation Spence Split
SplitV Sqrt SqrtGrad Square SquaredDifference Squeeze StatelessMultinomial
StatelessParameterizedTruncatedNormal StatelessRandomBinomial StatelessRandomGammaV2
StatelessRandomGammaV3 StatelessRandomGetKeyCounter StatelessRandomGetKeyCounterAlg
StatelessRandomNormal StatelessRandomNormalV2 StatelessRandomPoisson StatelessRandomUniform
StatelessRandomUniformInt StatelessRandomUniformIntV2 StatelessRandomUniformV2 StatelessShuffle
StatelessTruncatedNormal StatelessTruncatedNormalV2 StaticRegexFullMatch StaticRegexReplace
StochasticCastToInt StopGradient StridedSlice StridedSliceGrad StringFormat StringJoin StringLength
StringLower StringNGrams StringSplit StringSplitV2 StringStrip StringToHashBucket StringToHashBucketFast
StringToHashBucketStrong StringToNumber StringUpper Sub Substr Sum Svd Tan Tanh TanhGrad
TensorScatterAdd TensorScatterMax TensorScatterMin TensorScatterSub TensorScatterUpdate
TensorStridedSliceUpdate Tile TileGrad TopK TopKV2 Transpose TridiagonalMatMul TridiagonalSolve
TruncateDiv TruncateMod TruncatedNormal UnicodeScript UnicodeTranscode Unique UniqueV2 UniqueWithCounts
UniqueWithCountsV2 Unpack UnravelIndex UnsortedSegmentJoin UnsortedSegmentMax UnsortedSegmentMin
UnsortedSegmentProd UnsortedSegmentSum UpperBound Where Xdivy Xlog1py Xlogy ZerosLike Zeta
""")
