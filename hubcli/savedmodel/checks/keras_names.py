"""Names that a Keras config may hold without --unsafe: what Keras has and computes from the config alone.

Collected from tf_keras 2.21 and Keras 3.15; a test fails when an installed
Keras exports a layer that is in none of these lists. Left out are classes that
run Python code (Lambda), load another model (TFSMLayer, TorchModuleWrapper,
JaxLayer, FlaxLayer) or read files that their config names (feature columns).
"""

from __future__ import annotations

__all__ = [
    "APPLICATION_LAYERS",
    "FUNCTIONS",
    "KERAS_2_CLASSES",
    "KERAS_3_CLASSES",
    "NOT_PURE_LAYERS",
    "words",
]


def words(text: str) -> frozenset[str]:
    """The words of the text, each once."""
    return frozenset(text.split())


# Layers and models of tf_keras 2.21 that compute from their config alone.
_KERAS_2_LAYERS = words("""
AbstractRNNCell Activation ActivityRegularization Add AddLoss AddMetric AdditiveAttention AlphaDropout
Attention Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
BaseRandomLayer BatchNormalization BatchNormalizationBase BatchNormalizationV1 BatchNormalizationV2
Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose
Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose
Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D
Cropping3D CuDNNGRU CuDNNLSTM Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout
DropoutWrapper ELU EinsumDense Embedding Flatten Functional GRU GRUCell GRUCellV1 GRUCellV2 GRUV1 GRUV2
GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D
GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization HashedCrossing Hashing
Identity InputLayer InputSpec IntegerLookup LSTM LSTMCell LSTMCellV1 LSTMCellV2 LSTMV1 LSTMV2 Layer
LayerNormalization LeakyReLU LinearModel LocallyConnected1D LocallyConnected2D Masking MaxPool1D
MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum Model MultiHeadAttention
Multiply Normalization PReLU Permute PreprocessingLayer RNN RandomBrightness RandomContrast RandomCrop
RandomFlip RandomFourierFeatures RandomHeight RandomRotation RandomTranslation RandomWidth RandomZoom
ReLU RepeatVector Rescaling Reshape ResidualWrapper Resizing SeparableConv1D SeparableConv2D
SeparableConvolution1D SeparableConvolution2D Sequential SimpleRNN SimpleRNNCell Softmax
SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup
Subtract SyncBatchNormalization TextVectorization ThresholdedReLU TimeDistributed UnitNormalization
UpSampling1D UpSampling2D UpSampling3D WideDeepModel Wrapper ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")

# Layers and models of Keras 3.15 that compute from their config alone.
_KERAS_3_LAYERS = words("""
Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D
AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add
AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average AveragePooling1D AveragePooling2D
AveragePooling3D AvgPool1D AvgPool2D AvgPool3D BatchNormalization Bidirectional CategoryEncoding
CenterCrop Concatenate ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D
Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D
Convolution1DTranspose Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose
Cropping1D Cropping2D Cropping3D CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout
ELU EinsumDense Embedding Equalization Flatten Functional GRU GRUCell GaussianDropout GaussianNoise
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D
GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D
GlobalMaxPooling3D GroupNormalization GroupQueryAttention HashedCrossing Hashing Identity InputLayer
InputSpec IntegerLookup LSTM LSTMCell Layer LayerNormalization LeakyReLU Masking MaxNumBoundingBoxes
MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum
MixUp Model MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue
RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
RandomShear RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SeparableConvolution1D
SeparableConvolution2D Sequential SimpleRNN SimpleRNNCell Softmax Solarization SpatialDropout1D
SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract
TextVectorization TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D Wrapper
ZeroPadding1D ZeroPadding2D ZeroPadding3D
""")

# Operations of keras.ops in a functional model, but for those that take a function.
_KERAS_3_OPERATIONS = words("""
Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin Angle Any
Append Arange Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin Argpartition Argsort
Array ArraySplit Average AveragePool BatchNorm BinaryCrossentropy Bincount BitwiseAnd BitwiseInvert
BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift BitwiseXor BroadcastTo CDist CTCDecode CTCLoss
Cast CategoricalCrossentropy Cbrt Ceil Celu Cholesky CholeskyInverse Clip Concatenate Conj Conjugate
Conv ConvTranspose ConvertToTensor Copy Corrcoef Correlate Cos Cosh CountNonzero CropImages Cross
Cumprod Cumsum Deg2rad DepthToSpace DepthwiseConv Det Diag Diagflat Diagonal Diff Digitize Divide
DivideNoNan Dot DotProductAttention Dsplit Dstack Eig Eigh Einsum ElasticTransform Elu EmptyLike Equal
Erf Erfc Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences FFT FFT2 Fabs Flip Fliplr
Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike GaussianBlur Gcd Gelu Geomspace GetItem Glu
Greater GreaterEqual HSVToRGB HardShrink HardSigmoid HardSilu HardTanh Heaviside Histogram Hsplit Hstack
Hypot I0 IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn Isclose Isfinite Isinf Isnan Isneginf Isposinf
Isreal Kron LayerNorm Lcm Ldexp LeakyRelu LeftShift Less LessEqual Linspace Log Log10 Log1p Log2
LogSigmoid LogSoftmax Logaddexp Logaddexp2 Logdet LogicalAnd LogicalNot LogicalOr LogicalXor Logspace
Logsumexp Lstsq LuFactor MapCoordinates Matmul MatrixRank Max MaxPool Maximum Mean Median Meshgrid Min
Minimum Mish Mod Moments Moveaxis MultiHot Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum
Nanmax Nanmean Nanmedian Nanmin Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative
Nextafter Nonzero Norm Normalize NotEqual OneHot OnesLike Outer PSNR Pad PadImages Percentile
PerspectiveTransform Pinv Polar Power Prod Ptp Qr Quantile RFFT RGBToGrayscale RGBToHSV RMSNorm Rad2deg
Ravel ReLU Real Rearrange Reciprocal Relu Relu6 Repeat Reshape Resize RightShift Roll Rot90 Round Rsqrt
SSIM STFT SVD SaturateCast ScaleAndTranslate Scatter ScatterUpdate SearchSorted SegmentMax SegmentMin
SegmentProd SegmentReduction SegmentSum Select Selu SeparableConv Sigmoid Sign Signbit Silu Sin Sinc
Sinh Size Slice SliceUpdate Slogdet SobelEdges SoftShrink Softmax Softplus Softsign Solve
SolveTriangular Sort SpaceToDepth SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Split
Sqrt Square Squareplus Squeeze Stack Std StopGradient Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh
TanhShrink Tensordot Threshold Tile TopK Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold
Unique UnravelIndex Unstack Vander Var Vdot View ViewAsComplex ViewAsReal Vsplit Vstack Where ZerosLike
""")

# Initializers, regularizers, constraints, dtype policies, quantizers and seeds.
_PARTS = words("""
AWQConfig AWQDTypePolicy AbsMaxQuantizer Constant ConstantV2 Constraint DTypePolicy DTypePolicyMap
Float8QuantizationConfig FloatDTypePolicy GPTQConfig GPTQDTypePolicy GlorotNormal GlorotNormalV2
GlorotUniform GlorotUniformV2 HeNormal HeNormalV2 HeUniform HeUniformV2 Identity IdentityInitializer
IdentityV2 Initializer Int4DTypePolicy Int4QuantizationConfig Int8QuantizationConfig L1 L1L2 L2
LecunNormal LecunNormalV2 LecunUniform LecunUniformV2 MaxNorm MinMaxNorm NonNeg Ones OnesV2 Orthogonal
OrthogonalInitializer OrthogonalRegularizer OrthogonalV2 Policy QuantizationConfig QuantizedDTypePolicy
QuantizedFloat8DTypePolicy Quantizer RadialConstraint RandomNormal RandomNormalV2 RandomUniform
RandomUniformV2 Regularizer STFT STFTInitializer SeedGenerator TruncatedNormal TruncatedNormalV2
UnitNorm VarianceScaling VarianceScalingV2 Zeros ZerosV2 constant glorot_normal glorot_normalV2
glorot_uniform glorot_uniformV2 he_normal he_normalV2 he_uniform he_uniformV2 identity initializer l1
l1_l2 l1l2 l2 lecun_normal lecun_normalV2 lecun_uniform lecun_uniformV2 max_norm maxnorm min_max_norm
non_neg nonneg normal one ones orthogonal orthogonal_regularizer radial_constraint random_normal
random_uniform stft truncated_normal uniform unit_norm unitnorm variance_scaling zero zeros
""")

# Losses, metrics, optimizers and schedules.
_TRAINING = words("""
AUC Accuracy Adadelta Adafactor Adagrad Adam AdamW Adamax BinaryAccuracy BinaryCrossentropy
BinaryFocalCrossentropy BinaryIoU CTC CategoricalAccuracy CategoricalCrossentropy
CategoricalFocalCrossentropy CategoricalGeneralizedCrossEntropy CategoricalHinge Circle
ConcordanceCorrelation CosineDecay CosineDecayRestarts CosineSimilarity Dice ExponentialDecay F1Score
FBetaScore FalseNegatives FalsePositives Ftrl Hinge Huber InverseTimeDecay IoU KLDivergence Lamb
LearningRateSchedule Lion LogCosh LogCoshError Loss LossFunctionWrapper LossScaleOptimizer
LossScaleOptimizerV3 Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU MeanMetricWrapper
MeanRelativeError MeanSquaredError MeanSquaredLogarithmicError MeanTensor Metric MultiOptimizer Muon
Nadam OneHotIoU OneHotMeanIoU Optimizer PearsonCorrelation PiecewiseConstantDecay Poisson
PolynomialDecay Precision PrecisionAtRecall R2Score RMSprop Recall RecallAtPrecision
RootMeanSquaredError SGD ScheduleFreeAdamW SensitivityAtSpecificity SparseCategoricalAccuracy
SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity SquaredHinge Sum
SumOverBatchSize SumOverBatchSizeMetricWrapper TopKCategoricalAccuracy TrueNegatives TruePositives
Tversky
""")

# Activations, and functions of losses and metrics, which take tensors alone.
FUNCTIONS = words("""
KLD MAE MAPE MSE MSLE binary_accuracy binary_crossentropy binary_focal_crossentropy categorical_accuracy
categorical_crossentropy categorical_focal_crossentropy categorical_generalized_cross_entropy
categorical_hinge celu circle concordance_correlation cosine_similarity ctc dice elu exponential gelu
glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh hinge huber kl_divergence kld
kullback_leibler_divergence leaky_relu linear log_cosh log_sigmoid log_softmax logcosh mae mape
mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error
mish mse msle pearson_correlation poisson relu relu6 selu sigmoid silu soft_shrink softmax softplus
softsign sparse_categorical_accuracy sparse_categorical_crossentropy sparse_plus sparse_sigmoid
sparse_top_k_categorical_accuracy sparsemax squared_hinge squareplus swish tanh tanh_shrink threshold
top_k_categorical_accuracy tversky
""")

# Layers that both generations have and that are refused on purpose.
NOT_PURE_LAYERS = {
    "Lambda": "runs a Python function",
    "TFSMLayer": "loads a SavedModel from a path",
    "TorchModuleWrapper": "runs a pickled PyTorch module",
    "FlaxLayer": "runs Python code of JAX",
    "JaxLayer": "runs Python code of JAX",
    "DenseFeatures": "may read a file that its feature columns name",
    "SequenceFeatures": "may read a file that its feature columns name",
    "DynamicEmbedding": "calls functions that its config names",
    "DynamicLookup": "calls functions that its config names",
    "DeviceWrapper": "calls a device function",
}
# Layers that keras.applications has for itself.
APPLICATION_LAYERS = {
    "LayerScale": "convnext",
    "StochasticDepth": "convnext",
    "CustomScaleLayer": "inception_resnet_v2",
}
_APPLICATIONS = frozenset({*APPLICATION_LAYERS, "Custom>CustomScaleLayer"})
# Sequential configs of Keras 2 and metadata of SavedModels hold these too.
_STRUCTURES = frozenset({"Functional", "InputSpec", "Model", "Sequential"})
# What both generations may hold besides layers.
_COMMON = _PARTS | _TRAINING | _STRUCTURES | _APPLICATIONS
KERAS_2_CLASSES = _KERAS_2_LAYERS | _COMMON
KERAS_3_CLASSES = _KERAS_3_LAYERS | _KERAS_3_OPERATIONS | _COMMON
